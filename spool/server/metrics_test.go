package server_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"mailproxy/spool"
	"mailproxy/spool/server"
)

func TestMetrics(t *testing.T) {
	st, c := openStore(t), newClock()
	s := withPolicy(t, st, c, strict(func(p *server.Policy) { p.Contacts.Quota.Blocks = 1 }))
	registry := prometheus.NewPedanticRegistry() // which checks names, labels and buckets
	registry.MustRegister(s.Collector())
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
		"mailspool_answers_total ok register":      2,
		"mailspool_answers_total full append":      1,
		"mailspool_answers_total malformed none":   1,
		"mailspool_answer_seconds append":          3,
		"mailspool_answer_seconds read":            1,
		"mailspool_appends_total contacts ok":      1,
		"mailspool_appends_total contacts full":    1,
		"mailspool_appends_total strangers ok":     1,
		"mailspool_appends_total open full":        0,
		"mailspool_names active":                   1,
		"mailspool_names revoked":                  1,
		"mailspool_spools":                         2,
		"mailspool_blocks":                         2,
		"mailspool_block_bytes":                    2 * spool.BlockSize,
		"mailspool_oldest_block_timestamp_seconds": float64(start.Unix()),
		"mailspool_key_log_records":                3,
		"mailspool_open_invitations":               0,
		"mailspool_work_bits":                      float64(cheap.Bits),
		"mailspool_work_checks":                    0,
		"mailspool_dropped_blocks_total":           0,
	} {
		// Labels are sorted by their names: lane before status, status before type.
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (there: %v), want %v", name, v, ok, want)
		}
	}
	// Every status that there is has a name.
	for code := range 256 {
		if status := spool.Status(code); status.Known() && !server.StatusHasLabel(status) {
			t.Errorf("status %02x has no label", code)
		}
	}
}
