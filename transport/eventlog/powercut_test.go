//go:build unix

package eventlog

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"bms/domain"
)

// powerCuts is the number of histories that a test here cuts, some dozens of
// power cuts each; EVENTLOG_TEST_POWERCUTS sets another.
func powerCuts(t *testing.T, usual int) int {
	t.Helper()
	if s := os.Getenv("EVENTLOG_TEST_POWERCUTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return usual
}

// answers are the commits that were answered, and when.
type answers struct {
	mu sync.Mutex // guards all
	at map[string]answer
}

type answer struct {
	pos domain.Position
	at  time.Time
}

func (a *answers) add(at time.Time, commits ...*domain.Commit) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range commits {
		a.at[c.CommandID] = answer{c.Position, at}
	}
}

func (a *answers) copy() map[string]answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.at)
}

// powerCut is a moment: what may be on disk, and what had been answered.
type powerCut struct {
	op       int
	left     []image
	answered map[string]answer
	at       time.Time
	head     domain.Position
}

// imagesOfCut is how often each moment's unsynced writes are drawn.
const imagesOfCut = 2

func (d *disk) powerCut(random *rand.Rand, a *answers) powerCut {
	c := powerCut{op: d.ops, answered: a.copy(), at: time.Now()}
	for range imagesOfCut {
		c.left = append(c.left, d.cut(random))
	}
	return c
}

// TestPowerCut_loses_nothing_that_was_answered drops what was not synced, in
// whole or in part, at moments spread over the writer's, the index's and the
// checkpointer's steps; then the log goes on from what is left, and the power is
// cut again.
func TestPowerCut_loses_nothing_that_was_answered(t *testing.T) {
	cuts, commits := 0, 0
	for seed := range uint64(powerCuts(t, 1)) {
		random := rand.New(rand.NewPCG(seed, 7))
		dir, answered := t.TempDir(), map[string]answer{}
		for generation := range 3 {
			list := cutWhileAppending(t, random, dir, fmt.Sprint(seed, "-", generation), answered)
			for _, c := range list {
				for i, left := range c.left {
					t.Logf("seed %d, generation %d, operation %d, image %d: %d answered", seed, generation, c.op, i, len(c.answered))
					verify(t, left.write(t), Fsync, positions(c.answered))
					cuts++
				}
				commits = max(commits, len(c.answered))
			}
			last := list[random.IntN(len(list))]
			dir, answered = last.left[random.IntN(imagesOfCut)].write(t), last.answered
		}
	}
	t.Logf("%d power cuts, up to %d commits answered before one", cuts, commits)
}

func positions(answered map[string]answer) map[string]domain.Position {
	p := map[string]domain.Position{}
	for id, a := range answered {
		p[id] = a.pos
	}
	return p
}

// cutWhileAppending appends from several writers and looks at some moments what
// the power cut would leave.
func cutWhileAppending(t *testing.T, random *rand.Rand, dir, run string, answered map[string]answer) (list []powerCut) {
	t.Helper()
	d := watch(t, dir)
	a := &answers{at: maps.Clone(answered)}
	moments, last := map[int]bool{}, 0
	for range 6 { // half of them while the log is opened and has just begun
		moments[1+random.IntN(60)], moments[1+random.IntN(900)] = true, true
	}
	for op := range moments {
		last = max(last, op)
	}
	var done atomic.Bool
	d.on = func(op int) {
		if moments[op] {
			list = append(list, d.powerCut(random, a))
		}
		if op >= last {
			done.Store(true)
		}
	}
	l, err := Open(t.Context(), Config{Dir: dir, IndexBatch: 100 + random.IntN(300), CheckpointBytes: 1 << (15 + random.IntN(4))})
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 6 {
		writers.Go(func() {
			stream := fmt.Sprint("branch/", run, "-", i)
			for v := uint64(1); !done.Load(); v += 2 {
				pair := []*domain.Commit{adjustment(stream, v, fmt.Sprint(stream, "-", v)), adjustment(stream, v+1, fmt.Sprint(stream, "-", v+1))}
				if err := l.Append(t.Context(), pair...); err != nil {
					t.Error(err)
					return
				}
				a.add(time.Now(), pair...)
			}
		})
	}
	writers.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	// And the power is cut after a clean stop, and when the disk has had time.
	return append(list, d.powerCut(random, a))
}

// TestPowerCut_relaxed_loses_a_second_at_most in fake time: what was answered a
// second or longer before the power cut is there, by the clock of the log, in
// which a sync takes no time. What is lost, no position points to any more.
func TestPowerCut_relaxed_loses_a_second_at_most(t *testing.T) {
	var lost, kept int
	var oldest time.Duration
	for seed := range uint64(powerCuts(t, 3)) {
		random := rand.New(rand.NewPCG(seed, 8))
		dir := t.TempDir()
		var list []powerCut
		synctest.Test(t, func(t *testing.T) { list = cutRelaxed(t, random, dir) })
		for _, c := range list {
			for i, left := range c.left {
				t.Logf("seed %d, operation %d, image %d: %d answered", seed, c.op, i, len(c.answered))
				l, k, age := verifyRelaxed(t, left.write(t), c)
				lost, kept, oldest = lost+l, kept+k, max(oldest, age)
			}
		}
	}
	if lost == 0 {
		t.Error("nothing was lost: the power was not cut")
	}
	t.Logf("%d answered commits lost, the oldest answered %v before the power cut; %d kept", lost, oldest, kept)
}

func cutRelaxed(t *testing.T, random *rand.Rand, dir string) (list []powerCut) {
	d := watch(t, dir)
	a := &answers{at: map[string]answer{}}
	config := Config{Dir: dir, Durability: Relaxed}
	if random.IntN(2) == 0 { // else next to nothing is synced but for the promise
		config.IndexBatch, config.CheckpointBytes = 50+random.IntN(300), 1<<(15+random.IntN(4))
	}
	l, err := openHooked(t.Context(), config, func(step string) {
		switch step {
		case "syncing":
			d.syncing()
		case "synced":
			d.synced(fileName + "-wal")
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var done atomic.Bool
	var writers sync.WaitGroup
	for i := range 5 {
		pace := time.Duration(8+random.IntN(50)) * time.Millisecond
		writers.Go(func() {
			stream := streamName(i)
			for v := uint64(1); !done.Load(); v++ {
				c := adjustment(stream, v, fmt.Sprint(stream, "-", v))
				if err := l.Append(t.Context(), c); err != nil {
					t.Error(err)
					return
				}
				a.add(time.Now(), c)
				time.Sleep(pace)
			}
		})
	}
	for range 6 {
		time.Sleep(time.Duration(random.IntN(900))*time.Millisecond + time.Duration(random.IntN(1000))*time.Microsecond)
		d.mu.Lock()
		c := d.powerCut(random, a)
		d.mu.Unlock()
		c.head = l.Head()
		list = append(list, c)
	}
	done.Store(true)
	writers.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return list
}

func verifyRelaxed(t *testing.T, dir string, c powerCut) (lost, kept int, oldest time.Duration) {
	t.Helper()
	l := open(t, Config{Dir: dir, Durability: Relaxed})
	head := l.Head()
	if head.Epoch <= c.head.Epoch {
		t.Fatalf("the epoch is %d, before the power cut it was %d", head.Epoch, c.head.Epoch)
	}
	there := map[string]domain.Position{}
	for after := uint64(0); after < head.Seq; {
		commits, err := l.Read(t.Context(), after, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range commits {
			there[c.CommandID] = c.Position
		}
		after += uint64(len(commits))
	}
	// New history, longer than what was lost.
	var fresh []*domain.Commit
	for v := range c.head.Seq - min(head.Seq, c.head.Seq) + 10 {
		fresh = append(fresh, adjustment("new", v+1, fmt.Sprint("new-", v)))
	}
	if err := l.Append(t.Context(), fresh...); err != nil {
		t.Fatal(err)
	}
	for id, a := range c.answered {
		pos, found := there[id]
		switch err := l.Check(a.pos); {
		case found && (pos != a.pos || err != nil):
			t.Fatalf("command %q is at %s, was answered as %s, which is %v", id, pos, a.pos, err)
		case found:
			kept++
		case !errors.Is(err, domain.ErrUnknownPosition):
			t.Fatalf("command %q is lost, its position %s is %v", id, a.pos, err)
		default:
			lost++
			oldest = max(oldest, c.at.Sub(a.at))
		}
	}
	if oldest > time.Second {
		t.Fatalf("a command is lost that was answered %v before the power cut", oldest)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return lost, kept, oldest
}
