package demo

import (
	"math"

	"mailproxy/mixnet/directory"
	"mailproxy/spool/server"
)

// Policy returns the policy of a provider on a network with these parameters: the
// default one, whose rates are as much higher, and whose price for strangers is as
// much lower, as the network is faster than a real one.
func Policy(p directory.Parameters) server.Policy {
	policy := server.DefaultPolicy()
	faster := p.QueryRate / directory.DefaultParameters().QueryRate
	if faster <= 1 {
		return policy
	}
	for _, r := range []*server.Rate{
		&policy.Contacts.Rate, &policy.Strangers.Rate, &policy.Checks, &policy.Reads, &policy.Changes, &policy.Lookups, &policy.New,
	} {
		r.PerSecond *= faster
		r.Burst = int(float64(r.Burst) * faster)
	}
	less := uint8(math.Log2(faster))
	policy.Work.Bits = max(policy.Work.Bits, less+1) - less
	policy.Work.Memory = max(uint32(float64(policy.Work.Memory)/faster), 64)
	return policy
}
