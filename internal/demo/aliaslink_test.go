package demo

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"

	"mailproxy/mixnet/node"
	"mailproxy/proxy"
	"mailproxy/spool"
)

// A curiousProvider keeps all that it is asked, by the spool that it is about.
type curiousProvider struct {
	node.Service

	mu    sync.Mutex // guards all below
	names map[spool.ID]string
	asked map[spool.ID][]spool.Request
	reads []spool.ID // in the order in which they came
}

// Answer implements node.Service.
func (p *curiousProvider) Answer(ctx context.Context, request []byte) []byte {
	if r, _, status := spool.DecodeRequest(request); status == spool.StatusOK {
		p.note(r)
	}
	return p.Service.Answer(ctx, request)
}

func (p *curiousProvider) note(r spool.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var id spool.ID
	switch r := r.(type) {
	case *spool.Register:
		id = spool.IDOf(r.ReadKey)
		if b, err := r.Bundle.Open(); err == nil {
			p.names[id], _, _ = strings.Cut(b.Address, "@")
		}
	case *spool.Replace:
		if b, err := r.Bundle.Open(); err == nil {
			id = b.Spool
		}
	case *spool.Read:
		id = spool.IDOf(r.ReadKey)
		p.reads = append(p.reads, id)
	case *spool.Access:
		id = spool.IDOf(r.ReadKey)
	case *spool.Revoke:
		id = r.Spool
	case *spool.Append:
		return // somebody else's, whose proof of work may be the same small number twice
	case *spool.Lookup, *spool.Log:
		return // which name nobody but whom they ask about
	}
	p.asked[id] = append(p.asked[id], r)
}

// spoolOf returns the spool of a name.
func (p *curiousProvider) spoolOf(t *testing.T, addr string) spool.ID {
	t.Helper()
	name, _, _ := strings.Cut(addr, "@")
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, n := range p.names {
		if n == name {
			return id
		}
	}
	t.Fatalf("the provider has seen no %s", addr)
	return spool.ID{}
}

// readsOf returns how often a spool was read.
func (p *curiousProvider) readsOf(id spool.ID) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.reads {
		if r == id {
			n++
		}
	}
	return n
}

// material collects what could be the same in requests of one user: each string of
// bytes of eight or more, and the upper half of each nonce, which counts starts.
func material(requests []spool.Request) map[string]bool {
	found := map[string]bool{}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if v.IsNil() {
				return
			}
			switch x := v.Interface().(type) {
			case *spool.SignedBundle:
				if b, err := x.Open(); err == nil {
					walk(reflect.ValueOf(*b))
				}
			}
			walk(v.Elem())
		case reflect.Struct:
			if b, ok := v.Interface().(spool.SignedBundle); ok {
				if opened, err := b.Open(); err == nil {
					walk(reflect.ValueOf(*opened))
				}
			}
			if a, ok := v.Interface().(spool.Auth); ok {
				found[fmt.Sprintf("starts %d", a.Nonce>>32)] = true
			}
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					walk(v.Field(i))
				}
			}
		case reflect.Slice, reflect.Array:
			if v.Type().Elem().Kind() != reflect.Uint8 {
				for i := range v.Len() {
					walk(v.Index(i))
				}
				return
			}
			b := make([]byte, v.Len())
			reflect.Copy(reflect.ValueOf(b), v)
			if len(b) >= 8 {
				found[string(b)] = true
			}
		case reflect.String:
			if v.Len() >= 8 {
				found[v.String()] = true
			}
		}
	}
	for _, r := range requests {
		walk(reflect.ValueOf(r))
	}
	return found
}

func shared(a, b map[string]bool) (n int) {
	for s := range a {
		if b[s] {
			n++
		}
	}
	return n
}

// runs is how far the number of runs in a series of two kinds is from what chance gives,
// in deviations (Wald and Wolfowitz). What makes a network stall changes nothing of it.
func runs(series []bool) float64 {
	n := [2]float64{}
	count := 1.0
	for i, s := range series {
		if s {
			n[1]++
		} else {
			n[0]++
		}
		if i > 0 && s != series[i-1] {
			count++
		}
	}
	all := n[0] + n[1]
	mean := 2*n[0]*n[1]/all + 1
	return (count - mean) / math.Sqrt((mean-1)*(mean-2)/(all-1))
}

// TestAliasIsNotLinked has the provider that holds an account and two aliases of it, and
// an account of somebody else, look for what they have in common, in what it is asked
// to store and in whose turn it is to be read. The times between reads are looked at in
// package proxy, without a machine that stalls.
func TestAliasIsNotLinked(t *testing.T) {
	t.Parallel()
	north := &curiousProvider{names: map[spool.ID]string{}, asked: map[spool.ID][]spool.Request{}}
	w := newAliasWorld(t, func(domain string, s node.Service) node.Service {
		if domain != "north.test" {
			return s
		}
		north.Service = s
		return north
	}, Alice, Bob, carol)
	first := w.newAlias(t, proxy.NewAlias{Address: "shop@north.test", DisplayName: "A Shop"})
	second := w.newAlias(t, proxy.NewAlias{Address: "north.test"})

	// All three get mail, and send some.
	for i, to := range []string{Alice, first.Address, second.Address} {
		w.send(t, Bob, to, "hello", "dear "+to)
		eventually(t, "delivery to "+to, func() bool { return w.delivered(to) == 1 })
		from := w.account(t, Alice)
		from.Address = to
		if err := w.Submit(from, Bob, mailOf(to, Bob, "hello back", "dear bob")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "delivery to bob", func() bool { return w.delivered(Bob) == i+1 })
	}
	w.restart(t)
	ids := map[string]spool.ID{}
	for _, addr := range []string{Alice, first.Address, second.Address, carol} {
		ids[addr] = north.spoolOf(t, addr)
	}
	eventually(t, "reads", func() bool {
		return north.readsOf(ids[Alice])+north.readsOf(ids[first.Address]) >= 120 && north.readsOf(ids[first.Address]) >= 30 && north.readsOf(ids[carol]) >= 20
	})

	north.mu.Lock()
	defer north.mu.Unlock()
	for one, a := range ids {
		for other, b := range ids {
			if one < other {
				if n := shared(material(north.asked[a]), material(north.asked[b])); n != 0 {
					t.Errorf("what the provider has of %s and of %s has %d strings in common", one, other, n)
				}
			}
		}
	}
	// Every second request of one account, so that both halves hold some of before and
	// after the restart.
	var halves [2][]spool.Request
	for i, r := range north.asked[ids[Alice]] {
		halves[i%2] = append(halves[i%2], r)
	}
	if n := shared(material(halves[0]), material(halves[1])); n < 3 { // read key, instance, starts
		t.Errorf("two halves of what the provider has of alice have %d strings in common: does this test look?", n)
	}

	var series, turns []bool
	for _, id := range north.reads {
		if id == ids[Alice] || id == ids[first.Address] {
			series = append(series, id == ids[Alice])
			turns = append(turns, len(turns)%2 == 0)
		}
	}
	// Those before there was an alias are one run.
	for i, isAlice := range series {
		if !isAlice {
			series, turns = series[i:], turns[i:]
			break
		}
	}
	if z := runs(series); math.Abs(z) > 4.5 {
		t.Errorf("whose turn it is to be read follows a pattern: %.1f deviations from chance, of %d reads", z, len(series))
	}
	if z := runs(turns); math.Abs(z) < 4.5 {
		t.Errorf("reads in turns are %.1f deviations from chance, and nothing was noticed", z)
	}
}
