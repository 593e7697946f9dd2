package chaos_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// secret signs the tokens of these tests.
const secret = "a secret for the chaos tests, 32 bytes and more"

// patience is how long a start or a stop may take: a bound for a machine that
// hangs, not a figure.
const patience = 60 * time.Second

// node is `bms serve` on one data folder and port, over all its processes. It is
// used by one goroutine at a time.
type node struct {
	binary string
	data   string
	addr   string
	flags  []string
	env    []string
	stderr string // file
	output *os.File

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	starts int
}

// newNode makes a node that does not run yet. What it says on stderr is shown if
// the test fails.
func newNode(t *testing.T, binary, data string, flags ...string) *node {
	t.Helper()
	n := &node{binary: binary, data: data, addr: quietAddr(t), flags: flags, stderr: filepath.Join(t.TempDir(), "stderr")}
	var err error
	if n.output, err = os.Create(n.stderr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		n.output.Close()
		if t.Failed() {
			t.Logf("the node was started %d times, and said at last:\n%s", n.starts, tail(n.stderr))
		}
	})
	return n
}

// quietAddr is an address to serve on again and again: its port is below those
// that systems give to who asks for any, so nobody takes it while no node is
// there.
func quietAddr(t *testing.T) string {
	t.Helper()
	for {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		l, err := net.Listen("tcp", addr)
		if err == nil {
			_ = l.Close()
			return addr
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
}

func tail(file string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	const enough = 8000
	if len(content) > enough {
		content = content[len(content)-enough:]
	}
	return string(content)
}

// launch starts a process and returns without waiting for anything but its
// standing. announced gets its first line, or is closed.
func (n *node) launch() (announced <-chan string, err error) {
	n.cmd = exec.Command(n.binary, append([]string{"serve", "--addr", n.addr, "--data", n.data}, n.flags...)...)
	n.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "BMS_JWT_SECRET=" + secret}, n.env...)
	n.cmd.Stderr = n.output
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	n.starts++
	line, exited := make(chan string, 1), make(chan struct{})
	n.exited = exited
	go func(cmd *exec.Cmd) {
		defer close(exited)
		out := bufio.NewReader(stdout)
		if first, err := out.ReadString('\n'); err == nil {
			line <- first
		}
		close(line)
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // the state is kept in cmd
	}(n.cmd)
	return line, nil
}

// errEnded is returned by start when the process ends instead of serving.
var errEnded = errors.New("the node ended instead of serving")

// start starts a process and waits until it serves.
func (n *node) start() error {
	announced, err := n.launch()
	if err != nil {
		return err
	}
	select {
	case line, ok := <-announced:
		if !ok || !strings.Contains(line, "serving on http://"+n.addr) {
			<-n.exited
			return fmt.Errorf("%w: %v", errEnded, n.cmd.ProcessState)
		}
		return nil
	case <-time.After(patience):
		n.kill()
		return fmt.Errorf("the node does not serve within %v", patience)
	}
}

// kill kills the process with -9 and waits for its end.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended
	<-n.exited
	n.cmd = nil
}

// errFailed is returned by terminate for a node that complains as it ends.
var errFailed = errors.New("the node ends with an error after SIGTERM")

// terminate asks the process to end and waits until it has, with exit code 0.
func (n *node) terminate() error {
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-n.exited:
	case <-time.After(patience):
		return fmt.Errorf("the node does not end within %v of SIGTERM", patience)
	}
	state := n.cmd.ProcessState
	n.cmd = nil
	if !state.Success() {
		return fmt.Errorf("%w: %v", errFailed, state)
	}
	return nil
}

// running says that the process has not ended by itself.
func (n *node) running() error {
	select {
	case <-n.exited:
		return fmt.Errorf("the node ended by itself: %v", n.cmd.ProcessState)
	default:
		return nil
	}
}

// internal are events that only the write side has a use for: `bms log` prints
// them, nobody else is shown them.
var internal = regexp.MustCompile(`^\{"id":"[^"]*","type":"(transfer:|sync:handled")`)

// logged counts the events that `bms log` prints, but for internal ones.
func (n *node) logged() (int, error) {
	cmd := exec.Command(n.binary, "log", "--data", n.data)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("bms log: %w: %s", err, complaint.Bytes())
	}
	count := 0
	for line := range bytes.Lines(out) {
		if !internal.Match(line) {
			count++
		}
	}
	return count, nil
}
