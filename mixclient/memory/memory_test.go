package memory

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailproxy/mixclient"
	"mailproxy/mixclient/conformance"
)

type handler func([]byte) []byte

func (h handler) Answer(_ context.Context, request []byte) []byte { return h(request) }

func TestConformance(t *testing.T) {
	defer goleak.VerifyNone(t)
	conformance.Run(t, func(t *testing.T) conformance.Setup {
		n := New(Config{
			Services: map[mixclient.Service]Handler{
				{Kind: mixclient.KindSpool, Provider: conformance.Provider, Node: "a"}: handler(conformance.Answer),
				{Kind: mixclient.KindEcho, Node: "a"}:                                  handler(func(b []byte) []byte { return b }),
			},
			Limits: mixclient.Limits{Request: 8512, Reply: 9086},
			Slot:   time.Millisecond, Latency: 2 * time.Millisecond, Pad: true,
		})
		n.Announce(mixclient.Service{Kind: mixclient.KindSpool, Provider: conformance.Provider, Node: "a"},
			mixclient.Notice{Bytes: conformance.Announced(), Since: time.Now()})
		return conformance.Setup{
			Network: n, Patience: 2 * time.Minute,
			Break: func() { n.SetLoss(1) }, Mend: func() { n.SetLoss(0) },
		}
	})
}
