package socketio

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"bms/transport/leaktest"
)

func TestMain(m *testing.M) {
	if os.Getenv(benchClients) != "" {
		n, err := strconv.Atoi(os.Args[2])
		if err == nil {
			err = runBenchClients(os.Args[1], n)
		}
		fmt.Fprintln(os.Stderr, "clients:", err)
		os.Exit(1)
	}
	leaktest.Main(m)
}
