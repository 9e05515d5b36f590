package demo

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets more tests run at a time than there are processors: all they do
// is wait for delays and slots.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("4"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
