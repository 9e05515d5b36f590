package ports

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
)

// TestTrapPortTaken is for a port that another program has, which is reported
// nowhere: the error says which, and by whom.
func TestTrapPortTaken(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(l.Addr().String())
	var taken *TakenError
	if !errors.As(err, &taken) {
		t.Fatalf("a taken port: %v, want a TakenError", err)
	}
	if !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("error %q does not name the port", err)
	}
	if want := fmt.Sprintf("(process %d)", os.Getpid()); runtime.GOOS == "linux" && !strings.Contains(err.Error(), want) {
		t.Errorf("error %q does not say by whom, want %q", err, want)
	}
}

func TestListenOnAllAddressesIsNamed(t *testing.T) {
	all, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	_, port, _ := net.SplitHostPort(all.Addr().String())
	var taken *TakenError
	if _, err := Listen("127.0.0.1:" + port); !errors.As(err, &taken) || (runtime.GOOS == "linux" && taken.Holder == "") {
		t.Errorf("a port taken on all addresses: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	for _, address := range []string{"", "1143", "localhost:1143", "0.0.0.0:0", "[::]:0", "192.0.2.1:1143", "127.0.0.1:99999"} {
		if l, err := Listen(address); err == nil {
			l.Close()
			t.Errorf("listening on %q succeeded", address)
		}
	}
}
