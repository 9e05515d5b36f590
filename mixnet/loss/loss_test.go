package loss

import (
	"testing"
	"time"
)

func TestMonitor(t *testing.T) {
	var m Monitor
	end := func(n int, back bool) (changes int) {
		for range n {
			m.Sent()
			if _, changed := m.Ended(back); changed {
				changes++
			}
		}
		return changes
	}
	if n := end(enough-1, false); n != 0 || m.Report().Alarm {
		t.Errorf("alarm after %d loops", enough-1)
	}
	if alarm, changed := m.Ended(false); !alarm || !changed {
		t.Error("no alarm after enough lost loops")
	}
	if n := end(5, false); n != 0 {
		t.Error("the alarm is raised again while it lasts")
	}
	// It ends when so many came back that a tenth of the window at most is lost.
	if n := end(window, true); n != 1 || m.Report().Alarm {
		t.Errorf("%d changes after a whole window of loops came back, alarm %v", n, m.Report().Alarm)
	}
	if r := m.Report(); r.Lost != 0 || r.Sent != uint64(enough-1+5+window) || r.Back != window {
		t.Errorf("report %+v", r)
	}
	end(10, false)
	if r := m.Report(); r.Lost != 0.1 || r.Alarm {
		t.Errorf("with a tenth lost: %+v, want no alarm", r)
	}
	end(1, false)
	if r := m.Report(); !r.Alarm {
		t.Errorf("with more than a tenth lost: %+v, want an alarm", r)
	}
}

func TestVoid(t *testing.T) {
	var m Monitor
	for range 3 {
		m.Sent()
	}
	m.Ended(true)
	m.Void()
	if r := m.Report(); r.Sent != 2 || r.Back != 1 || r.Lost != 0 {
		t.Errorf("a loop of three is back, one void: %+v", r)
	}
}

func TestSlept(t *testing.T) {
	began := time.Now()
	for _, c := range []struct {
		took time.Duration
		want bool
	}{{0, false}, {time.Minute, false}, {time.Minute + sleepSlack/2, false}, {time.Minute + 2*sleepSlack, true}, {5 * time.Hour, true}, {-time.Hour, false}} {
		// The wall clock's reading alone, as after a sleep in which the other stood still.
		if got := Slept(began, began.Round(0).Add(c.took), time.Minute); got != c.want {
			t.Errorf("a wait of a minute took %v: slept %t", c.took, got)
		}
	}
}
