// Package house has no code. Its tests hold the rules of the house: each package says
// what it is and who imports it, and imports go one way only. Nothing imports it.
package house
