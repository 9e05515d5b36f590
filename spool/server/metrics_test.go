package server_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/spool"
	"mailproxy/spool/server"
)

func TestMetrics(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) { p.Contacts.Quota.Blocks = 1 }))
	registry := prometheus.NewPedanticRegistry() // which checks names, labels and buckets
	registry.MustRegister(s.Collectors(true)...)
	alice, bob := newUser(t, 1), newUser(t, 3)
	for name, u := range map[string]*user{"alice": alice, "bob": bob} {
		expect(t, s, u.register(name+"@north.test", 1), spool.StatusOK)
		expect(t, s, u.access(1, 1), spool.StatusOK)
	}
	expect(t, s, fromContact(alice, 1, 1), spool.StatusOK)
	expect(t, s, fromContact(alice, 1, 2), spool.StatusFull)
	expect(t, s, fromStranger(t, alice, cheap, 3), spool.StatusOK)
	expect(t, s, bob.revoke("bob", bob.spool(), false), spool.StatusOK)
	read(t, s, alice.reading(0, 1))
	s.Answer(t.Context(), nil)

	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
				if strings.Contains(l.GetValue(), "alice") || strings.Contains(l.GetValue(), "bob") {
					t.Errorf("%s names a user", name)
				}
			}
			// Of these, one at most is there.
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		// Labels are sorted by their names: lane before status, status before type.
		"mailspool_detail_answers_total ok register":      2,
		"mailspool_detail_answers_total full append":      1,
		"mailspool_detail_answers_total malformed none":   1,
		"mailspool_detail_answer_seconds append":          3,
		"mailspool_detail_answer_seconds read":            1,
		"mailspool_detail_appends_total contacts ok":      1,
		"mailspool_detail_appends_total contacts full":    1,
		"mailspool_detail_appends_total strangers ok":     1,
		"mailspool_detail_blocks_total dropped":           0,
		"mailspool_detail_store suspended":                0,
		"mailspool_detail_store spools":                   2,
		"mailspool_detail_store blocks":                   2,
		"mailspool_detail_store bytes":                    2 * spool.BlockSize,
		"mailspool_detail_oldest_block_timestamp_seconds": float64(start.Unix()),
		"mailspool_names":                                 1,
		"mailspool_revoked_names":                         1,
		"mailspool_key_log_records":                       3,
		"mailspool_open_invitations":                      0,
		"mailspool_work_bits":                             float64(cheap.Bits),
		"mailspool_work_queue_ratio":                      0,
		"mailspool_oldest_block_timestamp_seconds":        float64(start.Truncate(time.Hour).Unix()),
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, want)
		}
	}
	for name, step := range map[string]float64{
		"mailspool_spools": 10, "mailspool_blocks": 1000, "mailspool_block_bytes": 1000 * spool.BlockSize,
		"mailspool_quota_refusals_total contacts": 100,
	} {
		if v, ok := got[name]; !ok || v != 0 && v != step {
			t.Errorf("%s = %v (there: %v), want 0 or %v", name, v, ok, step)
		}
	}
	if v := got["mailspool_answer_seconds 1"]; v <= 0 || v > 2 {
		t.Errorf("the longest answer took %v s", v)
	}
	// Every status that there is has a name.
	for code := range 256 {
		if status := spool.Status(code); status.Known() && !server.StatusHasLabel(status) {
			t.Errorf("status %02x has no label", code)
		}
	}
}

// One block that comes or goes does not show in what anybody may ask, neither in the
// same minute nor for certain later; in the mean the figure is right.
func TestMetricsDoNotTellOfOneBlock(t *testing.T) {
	st, c := openStore(t), newClock()
	s := newServer(t, st, c, server.Limits{})
	alice := newUser(t, 1)
	expect(t, s, alice.register("alice@north.test", 1), spool.StatusOK)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(s.Collectors(false)...)
	blocks := func() float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if strings.Contains(f.GetName(), "detail") {
				t.Fatalf("%s is shown to anybody", f.GetName())
			}
			if f.GetName() == "mailspool_blocks" {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatal("no figure of blocks")
		return 0
	}
	const n = 100
	for i := range n {
		before := blocks()
		expect(t, s, appendBlock(alice.spool(), i), spool.StatusOK)
		if after := blocks(); after != before {
			t.Fatalf("%v became %v within a minute", before, after)
		}
	}
	ups := 0
	for i := range 2000 {
		c.set(start.Add(time.Duration(i+1) * time.Minute))
		switch blocks() {
		case 0:
		case 1000:
			ups++
		default:
			t.Fatalf("%v is no step", blocks())
		}
	}
	if ups < 130 || ups > 280 { // 200; the standard deviation is 13
		t.Errorf("%d blocks were shown as 1000 in %d of 2000 minutes, want about 200", n, ups)
	}
}
