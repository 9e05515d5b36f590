package headers

import (
	"strings"
	"testing"
)

// sentAs and sentFrom know the ids of mails that went out: as own-N to the mail program, as sent-N
// to others.
func sentAs(id string) (string, bool) {
	n, ok := strings.CutPrefix(id, "own-")
	return "sent-" + n, ok
}

func sentFrom(id string) (string, bool) {
	n, ok := strings.CutPrefix(id, "sent-")
	return "own-" + n, ok
}

func TestOutgoingReferencesKnowBothIDs(t *testing.T) {
	p := policy()
	p.SentAs = sentAs
	r := outgoing(t, lines("From: alice@north.test", "In-Reply-To: <own-2@x>",
		"References: <own-1@x> <sent-1@x> <seen-3@x> <foreign@x> <own-2@x>", "", ""), p)
	got := string(r.Message)
	for _, want := range []string{"In-Reply-To: <sent-2@x>\r\n", "References: <sent-1@x> <seen-3@x> <sent-2@x>\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "own-") || strings.Contains(got, "foreign") {
		t.Errorf("ids that no recipient knows leave in\n%s", got)
	}
}

func TestIncomingReferencesKnowBothIDs(t *testing.T) {
	long := strings.Repeat("<other@x> ", maxReferences)
	for name, test := range map[string]struct{ in, want []string }{
		"reply": {[]string{"In-Reply-To: <sent-2>", "References: <sent-1>", " <b@x> <sent-2>"},
			[]string{"In-Reply-To: <sent-2>", "References: <own-1> <sent-1> <b@x> <own-2> <sent-2>"}},
		"reply without References": {[]string{"In-Reply-To: <sent-2>"}, []string{"In-Reply-To: <sent-2>", "References: <own-2> <sent-2>"}},
		"both are there":           {[]string{"References: <own-1> <sent-1>"}, []string{"References: <own-1> <sent-1>"}},
		"not ours":                 {[]string{"references:\t<b@x>,<c@x>"}, []string{"references:\t<b@x>,<c@x>"}},
		"none":                     {[]string{"Subject: x"}, []string{"Subject: x"}},
		"twice":                    {[]string{"References: <sent-1>", "References: <b@x>"}, []string{"References: <own-1> <sent-1>"}},
		"not in an id":             {[]string{"References: <sent-\x01>"}, []string{"References: <sent-\x01>"}},
		"too many":                 {[]string{"References: <sent-1> " + long}, []string{"References: <sent-1> " + long}},
	} {
		t.Run(name, func(t *testing.T) {
			in := lines(append(append([]string{"From: alice@north.test"}, test.in...), "", "References: <sent-1>")...)
			want := ours + lines(append(append([]string{"From: alice@north.test"}, test.want...), "", "References: <sent-1>")...)
			got := arriveAll([]byte(in), Seal{Address: "alice@north.test", State: StatePinned, SentFrom: sentFrom})
			if string(got.Message) != want {
				t.Errorf("got\n%q\nwant\n%q", got.Message, want)
			}
		})
	}
	// What the program made of its id adds no field.
	evil := func(string) (string, bool) { return "a>\r\nX-Evil: <b", true }
	got := arriveAll([]byte(lines("References: <sent-1>", "", "")), Seal{SentFrom: evil})
	if strings.Contains(string(got.Message), "Evil") {
		t.Errorf("%q", got.Message)
	}
}
