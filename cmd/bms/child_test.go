package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// roles are what the binary of these tests is in a process of its own: clients
// whose processors and memory are not to be counted as the node's, or a node
// that can be sent a signal. A role ends when it returns; what it is asked comes
// on stdin, what it answers goes to stdout, a line each.
var roles = map[string]func(args []string) error{
	"bms":           beBMS,
	"connect":       connectMany,
	"counting":      runClients,
	"drain-clients": runDrainClients,
	"flood":         flood,
	"slow-readers":  runSlowClients,
	"storm":         runStorm,
}

// roleVariable names a child's role. It doesn't begin with BMS_: a node refuses
// such variables when it doesn't know them.
const roleVariable = "TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	_ = os.Unsetenv(roleVariable) // it is set, so this can't fail
	run, ok := roles[role]
	if !ok {
		fmt.Fprintf(os.Stderr, "no role is called %q\n", role)
		os.Exit(1)
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beBMS is the program itself, on a test's arguments.
func beBMS(args []string) error {
	os.Args = append(os.Args[:1], args...)
	main()
	return nil
}

// child is a process in a role.
type child struct {
	process *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
}

// startChild starts a role, which is killed at the end of the test if it hasn't
// ended by then.
func startChild(tb testing.TB, role string, args ...string) *child {
	tb.Helper()
	return startCommand(tb, childCommand(role, args...))
}

// childCommand is the command of a role, for those that need more than
// startChild gives them.
func childCommand(role string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

func startCommand(tb testing.TB, cmd *exec.Cmd) *child {
	tb.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = cmd.Process.Kill() // nothing, if it has ended
		_ = cmd.Wait()         // nothing, if somebody has waited
	})
	return &child{cmd, stdin, bufio.NewReader(stdout)}
}

// say gives the child a line.
func (c *child) say(line any) { fmt.Fprintln(c.stdin, line) }

// line waits for what the child says next, without the end of the line.
func (c *child) line(tb testing.TB) string {
	tb.Helper()
	line, err := c.stdout.ReadString('\n')
	if err != nil {
		tb.Fatalf("%s says %q, %v; want a line", c.process, line, err)
	}
	return line[:len(line)-1]
}

// expect waits until the child says something.
func (c *child) expect(tb testing.TB, want string) {
	tb.Helper()
	if got := c.line(tb); got != want {
		tb.Fatalf("%s says %q, want %q", c.process, got, want)
	}
}

// wait closes the child's stdin, which most take for the end, and waits for it
// to end well.
func (c *child) wait(tb testing.TB) {
	tb.Helper()
	_ = c.stdin.Close()
	if err := c.process.Wait(); err != nil {
		tb.Errorf("%s: %v", c.process, err)
	}
}

// untilClosed is a child's wait for the end of its test.
func untilClosed() { _, _ = io.Copy(io.Discard, os.Stdin) }

// givePrecedence lets the node go first where a child's clients would take the
// processors; real clients have some of their own. A priority is a thread's, so
// that a group is needed to have it for all.
func givePrecedence() error {
	if err := syscall.Setpgid(0, 0); err != nil {
		return err
	}
	return syscall.Setpriority(syscall.PRIO_PGRP, 0, 19)
}

// arguments reads a role's arguments into variables, in order.
func arguments(args []string, into ...any) error {
	if _, err := fmt.Sscan(strings.Join(args, " "), into...); err != nil {
		return fmt.Errorf("arguments %q: %w", args, err)
	}
	return nil
}
