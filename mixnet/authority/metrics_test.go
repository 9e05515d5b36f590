package authority

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestFigures(t *testing.T) {
	c := newCouncil(t, time.Hour)
	c.start("dir1", "dir2", "dir3")
	e := c.epoch()
	c.publish(e, members...)
	c.snapshot(c.client("gateway"), e)
	a := c.running["dir1"]
	for deadline := time.Now().Add(2 * time.Minute); a.Counters.Finished.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("dir1 has no snapshot")
		}
	}
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(a.Collector()); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP mixnet_directory_descriptors Nodes that have published their key of an epoch here.
# TYPE mixnet_directory_descriptors gauge
mixnet_directory_descriptors{epoch="next"} 0
mixnet_directory_descriptors{epoch="present"} 6
# HELP mixnet_directory_liar Whether a directory was seen to sign two snapshots of one epoch.
# TYPE mixnet_directory_liar gauge
mixnet_directory_liar{directory="dir1"} 0
mixnet_directory_liar{directory="dir2"} 0
mixnet_directory_liar{directory="dir3"} 0
# HELP mixnet_directory_nodes Nodes of the network document that publish descriptors.
# TYPE mixnet_directory_nodes gauge
mixnet_directory_nodes 6
# HELP mixnet_directory_snapshot_nodes Nodes in the last snapshot.
# TYPE mixnet_directory_snapshot_nodes gauge
mixnet_directory_snapshot_nodes 6
# HELP mixnet_directory_snapshots_total Snapshots that this directory has taken up.
# TYPE mixnet_directory_snapshots_total counter
mixnet_directory_snapshots_total 1
# HELP mixnet_directory_votes_total Votes made, one in each round.
# TYPE mixnet_directory_votes_total counter
mixnet_directory_votes_total 1
`
	names := []string{
		"mixnet_directory_descriptors", "mixnet_directory_liar", "mixnet_directory_nodes", "mixnet_directory_snapshot_nodes",
		"mixnet_directory_snapshots_total", "mixnet_directory_votes_total",
	}
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(r); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}
