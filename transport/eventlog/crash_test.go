package eventlog

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"bms/domain"
)

// TestCrash_loses_nothing_that_was_answered kills a process that appends with
// SIGKILL, again and again on the same folder: after a random number of
// answers, or right at a step of the writer.
func TestCrash_loses_nothing_that_was_answered(t *testing.T) {
	for durability, rounds := range map[string]int{Fsync: 14, Relaxed: 6} {
		t.Run(durability, func(t *testing.T) {
			dir := t.TempDir()
			answered := map[string]domain.Position{}
			steps := []string{"", "", "begun", "inserted", "durable", "flushed", ""}
			for round := range rounds {
				step := steps[round%len(steps)]
				crash(t, dir, durability, round, step, answered)
				verify(t, dir, durability, answered)
			}
			t.Logf("%d commits were answered", len(answered))
		})
	}
}

const (
	crashDir        = "EVENTLOG_TEST_CRASH_DIR"
	crashDurability = "EVENTLOG_TEST_CRASH_DURABILITY"
	crashStep       = "EVENTLOG_TEST_CRASH_STEP"
	crashRound      = "EVENTLOG_TEST_CRASH_ROUND"
)

// crash starts the victim and kills it: at once when step is empty and a
// random number of answers has come, else the victim kills itself at the step.
func crash(t *testing.T, dir, durability string, round int, step string, answered map[string]domain.Position) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	victim := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestCrashVictim$")
	victim.Env = append(os.Environ(), crashDir+"="+dir, crashDurability+"="+durability, crashStep+"="+step, crashRound+"="+strconv.Itoa(round))
	victim.Stderr = t.Output()
	out, err := victim.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	left := 1 + rand.IntN(2000)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // half a line is no answer
			break
		}
		id, pos, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			t.Fatalf("the victim said %q", line)
		}
		p, err := domain.ParsePosition(pos)
		if err != nil {
			t.Fatalf("the victim said %q: %v", line, err)
		}
		answered[id] = p
		if left--; left == 0 && step == "" {
			if err := victim.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = victim.Wait()
	if status, ok := victim.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the victim ended with %v, want it killed", err)
	}
}

// verify opens what the victim left behind.
func verify(t *testing.T, dir, durability string, answered map[string]domain.Position) {
	t.Helper()
	l, err := Open(t.Context(), Config{Dir: dir, Durability: durability, IndexBatch: 700})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	versions := map[string]uint64{}
	found := map[string]bool{}
	for after := uint64(0); after < l.Head().Seq; {
		commits, err := l.Read(t.Context(), after, 0) // checks checksums and gaps
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commits {
			after++
			if versions[c.Stream]++; c.Version != versions[c.Stream] {
				t.Fatalf("commit %d is version %d of %q, want %d", after, c.Version, c.Stream, versions[c.Stream])
			}
			if found[c.CommandID] {
				t.Fatalf("command %q is in the log twice", c.CommandID)
			}
			found[c.CommandID] = true
			if p, ok := answered[c.CommandID]; ok && p != c.Position {
				t.Fatalf("command %q is at %s, it was answered as %s", c.CommandID, c.Position, p)
			}
		}
	}
	for id, p := range answered {
		if !found[id] {
			t.Fatalf("command %q was answered as %s and is not in the log", id, p)
		}
		if err := l.Check(p); err != nil {
			t.Fatalf("position of command %q: %v", id, err)
		}
	}
	for stream, version := range versions { // by the index, after its recovery
		own, err := l.ReadStream(t.Context(), stream, version-1, 10)
		if err != nil || len(own) != 1 || own[0].Version != version {
			t.Fatalf("stream %q ends with %v, %v; want version %d", stream, own, err, version)
		}
		if _, err := l.FindCommand(t.Context(), own[0].UserID, own[0].CommandID); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrashVictim is the process that TestCrash kills; on its own it does
// nothing.
func TestCrashVictim(t *testing.T) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		return
	}
	step, countdown := os.Getenv(crashStep), 1+rand.IntN(40)
	if step == "flushed" {
		countdown = 1
	}
	die := func(at string) {
		if at != step {
			return
		}
		if countdown--; countdown == 0 {
			for range 5000 { // whoever was answered too early says so
				runtime.Gosched()
			}
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	l, err := openHooked(context.Background(), Config{Dir: dir, Durability: os.Getenv(crashDurability), IndexBatch: 500, CheckpointBytes: 1 << 18}, die)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards stdout
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			stream := streamName(i)
			own, err := l.ReadStream(context.Background(), stream, 0, 0)
			for err == nil && len(own) == maxBatch {
				var more []*domain.Commit
				more, err = l.ReadStream(context.Background(), stream, own[len(own)-1].Version, 0)
				own = append(own, more...)
			}
			if err != nil {
				t.Error(err)
				return
			}
			for v := uint64(len(own)); ; v++ {
				calls := 1 + rand.IntN(3)
				var commits []*domain.Commit
				for range calls {
					v++
					commits = append(commits, adjustment(stream, v, fmt.Sprint(os.Getenv(crashRound), "-", i, "-", v)))
				}
				v--
				if err := l.Append(context.Background(), commits...); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, c := range commits {
					_, err = fmt.Fprintf(os.Stdout, "%s %s\n", c.CommandID, c.Position)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}
