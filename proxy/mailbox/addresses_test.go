package mailbox

import (
	"reflect"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	a, b := Address{"", "a", "x.test"}, Address{"B", "b", "y.test"}
	end := Address{}
	for v, want := range map[string][]Address{
		"a@x.test, B <b@y.test>":                                 {a, b},
		"undisclosed-recipients:;":                               {{Mailbox: "undisclosed-recipients"}, end},
		"Friends: a@x.test, B <b@y.test>;":                       {{Mailbox: "Friends"}, a, b, end},
		"a@x.test, \"Old: friends\" : B <b@y.test> ; , a@x.test": {a, {Mailbox: "Old: friends"}, b, end, a},
		"=?utf-8?q?Fr=C3=BCher?=:a@x.test;":                      {{Mailbox: "Früher"}, a, end},
		"a@x.test (at: home; or not), \"B\" <b@y.test>":          {{"at: home; or not", "a", "x.test"}, b},
		"c@[192.0.2.1]":                                          {{"", "c", "[192.0.2.1]"}},
		"Open: a@x.test":                                         {{"Open: a@x.test", "MISSING_MAILBOX", "MISSING_DOMAIN"}},
		"One: nonsense;, a@x.test":                               {{Mailbox: "One"}, {"nonsense", "MISSING_MAILBOX", "MISSING_DOMAIN"}, end, a},
		"nobody":                                                 {{"nobody", "MISSING_MAILBOX", "MISSING_DOMAIN"}},
	} {
		got := addresses(goHeader(Fields([]byte("To: "+v+"\r\n"))), "To")
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", v, got, want)
		}
	}
	many := addresses(goHeader(Fields([]byte("To: "+strings.Repeat("g: a@x.test;", 10000)+"\r\n"))), "To")
	if len(many) > maxAddresses+3 || many[len(many)-1] != end {
		t.Errorf("%d addresses, the last %+v", len(many), many[len(many)-1])
	}
}
