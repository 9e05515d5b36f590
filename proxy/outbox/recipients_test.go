package outbox

import (
	"slices"
	"testing"
)

// TestNamedTwice checks that whoever is named more than once gets the message once,
// and that no wish for a report gets lost by it.
func TestNamedTwice(t *testing.T) {
	const bob = "bob@south.test"
	for _, test := range []struct {
		name string
		in   []Recipient
		want []Notify // of bob; one for each recipient that there is
	}{
		{"three spellings", []Recipient{{Address: bob}, {Address: "BOB@South.Test"}, {Address: "Bob@south.test."}}, nil},
		{"three cases", []Recipient{{Address: bob}, {Address: "BOB@South.Test"}, {Address: "Bob@south.test"}}, []Notify{0}},
		{"two people", []Recipient{{Address: bob}, {Address: "bob@north.test"}}, []Notify{0, 0}},
		{"never, and nothing said", []Recipient{{Address: bob, Notify: NotifyNever}, {Address: bob}}, []Notify{NotifyFailure | NotifyDelay}},
		{"never, and success", []Recipient{{Address: bob, Notify: NotifyNever}, {Address: bob, Notify: NotifySuccess}}, []Notify{NotifySuccess}},
		{"never twice", []Recipient{{Address: bob, Notify: NotifyNever}, {Address: bob, Notify: NotifyNever}}, []Notify{NotifyNever}},
		{"success, and nothing said", []Recipient{{Address: bob, Notify: NotifySuccess}, {Address: bob}}, []Notify{NotifySuccess | NotifyFailure | NotifyDelay}},
	} {
		t.Run(test.name, func(t *testing.T) {
			rs, err := recipientsOf(&Submission{From: "alice@north.test", Recipients: test.in})
			if test.want == nil {
				if err == nil {
					t.Errorf("%+v was accepted", rs)
				}
				return
			}
			var have []Notify
			for _, r := range rs {
				have = append(have, r.Notify)
			}
			if err != nil || !slices.Equal(have, test.want) || rs[0].Address != bob {
				t.Errorf("%+v, %v; want NOTIFY %v", rs, err, test.want)
			}
		})
	}
}
