package proxy

import (
	"crypto/rand"
	"math/big"
	"strconv"
)

// Names that an alias may be given are like those that people choose, so that the name
// does not say that the address is an alias. With the number there are about a million.
var (
	givenNames = []string{
		"ada", "adam", "agnes", "alex", "amir", "anna", "anton", "bea", "carla", "chris", "clara", "daniel",
		"daria", "david", "elena", "elias", "emil", "emma", "eva", "felix", "finn", "greta", "hanna", "hugo",
		"ida", "igor", "ines", "irma", "ivan", "jana", "jan", "jonas", "julia", "karim", "kim", "lara",
		"lea", "leo", "lina", "luca", "maja", "marco", "marie", "martin", "max", "mia", "mila", "nadia",
		"nico", "nina", "noah", "olga", "oscar", "paul", "petra", "robin", "rosa", "sami", "sara", "simon",
		"sofia", "tara", "tom", "vera",
	}
	familyNames = []string{
		"adler", "becker", "berg", "bianchi", "blum", "brandt", "brown", "costa", "dahl", "dubois", "duran", "fischer",
		"ford", "fuchs", "garcia", "gomez", "green", "haas", "hansen", "hill", "hoffman", "horvat", "ivanov", "jensen",
		"kaya", "keller", "klein", "koch", "kovac", "kowalski", "lang", "larsen", "lewis", "lopez", "maier", "marino",
		"martin", "meyer", "moreau", "morris", "nagy", "novak", "olsen", "park", "pereira", "peters", "petrov", "reid",
		"rossi", "roth", "russo", "santos", "schmid", "silva", "stone", "sutter", "vidal", "vogel", "walker", "weber",
		"west", "winter", "wolf", "young",
	}
)

// randomName returns a local part for an alias. It is drawn as keys are: who could
// guess the generator's state could tell which names one user drew.
func randomName() string {
	draw := func(n int) int {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
		if err != nil {
			panic(err) // rand.Reader does not fail
		}
		return int(i.Int64())
	}
	given, family := givenNames[draw(len(givenNames))], familyNames[draw(len(familyNames))]
	number := strconv.Itoa(10 + draw(90))
	switch draw(4) {
	case 0:
		return given + "." + family + number
	case 1:
		return given + family + number
	case 2:
		return given[:1] + "." + family + number
	}
	return family + "." + given + number
}
