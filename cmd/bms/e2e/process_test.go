package e2e_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for a line before it gives up: a bound for
// a machine that hangs, not a figure.
const patience = 3 * time.Minute

// process is a running program whose output is read line by line.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser // stdin
	done chan struct{}  // closed when it has ended and all output is read

	mu      sync.Mutex // guards what follows
	out     []string
	errs    []string
	changed chan struct{} // closed and replaced with every line, and at the end
}

// start runs a program, which is killed at the end of the test if it still
// runs. environ is added to a small environment.
func start(t *testing.T, name string, environ []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{}), changed: make(chan struct{})}
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, environ...)
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.read(stdout, &p.out) })
	readers.Go(func() { p.read(stderr, &p.errs) })
	go func() {
		readers.Wait()
		_ = p.cmd.Wait() // the state is kept in p.cmd
		p.mu.Lock()
		defer p.mu.Unlock()
		close(p.done)
		close(p.changed)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("%s said on stdout:\n%s\nand on stderr:\n%s", name, tail(p.out), tail(p.errs))
		}
		for _, line := range p.errs {
			if strings.Contains(line, "WARNING: DATA RACE") {
				t.Errorf("%s has a data race:\n%s", name, strings.Join(p.errs, "\n"))
				break
			}
		}
	})
	return p
}

func tail(lines []string) string { return strings.Join(lines[max(0, len(lines)-60):], "\n") }

func (p *process) read(r io.Reader, into *[]string) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		p.mu.Lock()
		*into = append(*into, lines.Text())
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// snapshot returns stdout so far, whether the program has ended, and what is
// closed when there is more to see.
func (p *process) snapshot() (out []string, ended bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		ended = true
	default:
	}
	return p.out[:len(p.out):len(p.out)], ended, p.changed
}

// await waits until the program has printed a line from the from-th on that
// satisfies the condition, and returns its index.
func (p *process) await(what string, from int, found func(line string) bool) int {
	p.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		out, ended, changed := p.snapshot()
		for ; from < len(out); from++ {
			if found(out[from]) {
				return from
			}
		}
		if ended {
			p.t.Fatalf("%s ended before %s", p.name, what)
		}
		select {
		case <-changed:
		case <-deadline.C:
			p.t.Fatalf("%s: no %s within %v", p.name, what, patience)
		}
	}
}

// exit waits for the end and returns the exit code, -1 for a signal.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%s has not ended within %v", p.name, patience)
		return 0
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatalf("signal %v to %s: %v", s, p.name, err)
	}
}
