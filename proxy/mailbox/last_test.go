package mailbox

import "testing"

func TestLast(t *testing.T) {
	w := newWorld(t)
	for n := range 5 {
		w.deliver(Inbox, letter(n))
	}
	f, err := w.account().Folder(Inbox)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		n    int
		want []uint32
	}{{0, nil}, {1, []uint32{5}}, {3, []uint32{5, 4, 3}}, {9, []uint32{5, 4, 3, 2, 1}}} {
		list, err := f.Last(c.n)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != len(c.want) {
			t.Fatalf("the last %d are %d", c.n, len(list))
		}
		for i, m := range list {
			if m.UID != c.want[i] {
				t.Errorf("the last %d: number %d has UID %d, want %d", c.n, i, m.UID, c.want[i])
			}
		}
	}
}
