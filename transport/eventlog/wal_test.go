package eventlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bms/domain"
)

const pageSize, frameSize = 4096, 4096 + walFrameHeader

// killed makes a log of n commits, each appended alone, and returns what its
// folder holds when the process is killed, after a last act.
func killed(t *testing.T, n int, config Config, last func(*Log)) image {
	t.Helper()
	dir := t.TempDir()
	config.Dir = dir
	l := open(t, config)
	for v := range uint64(n) {
		c := adjustment("branch/b1", v+1, fmt.Sprint("c-", v+1))
		if v%7 == 3 { // takes several pages
			c.Result = []byte(`"` + strings.Repeat("x", 9000) + `"`)
		}
		if err := l.Append(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if last != nil {
		last(l)
	}
	left := image{}
	for _, name := range []string{fileName, fileName + "-wal", fileName + "-shm", indexName, indexName + "-wal", indexName + "-shm"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		left[name] = b
	}
	return left
}

func (i image) without(names ...string) image {
	left := maps.Clone(i)
	for _, name := range names {
		delete(left, name)
	}
	return left
}

// ends are the sizes of a write-ahead log after each of its transactions.
func ends(wal []byte) (sizes []int) {
	for at := walHeader; at+frameSize <= len(wal); at += frameSize {
		if binary.BigEndian.Uint32(wal[at+4:]) != 0 {
			sizes = append(sizes, at+frameSize)
		}
	}
	return sizes
}

func opened(t *testing.T, dir string) (commits uint64, err error) {
	t.Helper()
	l, err := Open(t.Context(), quiet(dir))
	if err != nil {
		return 0, err
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return l.Head().Seq, nil
}

// With and without the shared memory that a killed process leaves.
func TestWAL_a_flipped_bit_before_the_last_commit_is_damage(t *testing.T) {
	const commits = 200
	left := killed(t, commits, Config{}, nil)
	wal := left[fileName+"-wal"]
	all := ends(wal)
	before := all[len(all)-2] // the last transaction begins here
	random := rand.New(rand.NewPCG(3, 4))
	places := []int{3, 9, 17, 30} // of the header
	for at := walHeader; at < before; at += frameSize * (1 + random.IntN(15)) {
		places = append(places, at+random.IntN(walFrameHeader), at+100, at+walFrameHeader+random.IntN(pageSize))
	}
	for _, shm := range []bool{false, true} {
		image := left
		if !shm {
			image = left.without(fileName+"-shm", indexName+"-shm")
		}
		for _, at := range places {
			if !shm && at >= all[len(all)-3] {
				continue // a flipped commit mark makes two transactions one
			}
			image[fileName+"-wal"] = bytes.Clone(wal)
			image[fileName+"-wal"][at] ^= 1 << random.IntN(8)
			dir := image.write(t)
			frame := max(at-walHeader, 0) / frameSize * frameSize
			want := fmt.Sprintf("byte %d is damaged", walHeader+frame)
			if at < walHeader {
				want = "byte 0 is damaged"
			}
			for range 2 { // whoever starts it again gets the same answer
				n, err := opened(t, dir)
				if !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), fileName+"-wal: ") || !strings.Contains(err.Error(), want) {
					t.Fatalf("byte %d of %d flipped, shared memory %t: opened with %d commits and %v, want %v that names file and place", at, len(wal), shm, n, err, domain.ErrCorrupt)
				}
				if _, err := OpenReadOnly(t.Context(), dir); !errors.Is(err, domain.ErrCorrupt) {
					t.Fatalf("byte %d flipped: opened for reading with %v, want %v", at, err, domain.ErrCorrupt)
				}
			}
			for name, want := range image {
				if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%s was changed (%v), want it left for whoever repairs it", name, err)
				}
			}
		}
	}
}

// A copy without the shared memory, as after a power cut.
func TestWAL_a_torn_tail_opens(t *testing.T) {
	const commits = 25 // the last takes several pages
	left := killed(t, commits, Config{}, nil).without(fileName+"-shm", indexName+"-shm")
	wal := left[fileName+"-wal"]
	all := ends(wal)
	before := all[len(all)-2]
	random := rand.New(rand.NewPCG(5, 6))
	cuts := []int{before, before + 1, before + walFrameHeader, before + frameSize - 1, before + frameSize, len(wal) - 1}
	for range 40 {
		cuts = append(cuts, before+random.IntN(len(wal)-before))
	}
	for _, size := range cuts {
		left[fileName+"-wal"] = wal[:size]
		if n, err := opened(t, left.write(t)); err != nil || n != commits-1 {
			t.Fatalf("cut at byte %d of %d: %d commits and %v, want %d", size, len(wal), n, err, commits-1)
		}
		// The file was extended and the sectors came in any order.
		torn := bytes.Clone(wal)
		for at := size; at < len(wal); at++ {
			if at == size || at%walSector == 0 && random.IntN(2) == 0 {
				clear(torn[at:min(at/walSector*walSector+walSector, len(wal))])
			}
		}
		left[fileName+"-wal"] = torn
		if n, err := opened(t, left.write(t)); err != nil || n != commits-1 {
			t.Fatalf("torn from byte %d of %d: %d commits and %v, want %d", size, len(wal), n, err, commits-1)
		}
	}
	for size := range walHeader { // before there was any commit
		left[fileName+"-wal"] = wal[:size]
		if _, err := inspectWAL(filepath.Join(left.write(t), fileName)); err != nil {
			t.Fatal(err)
		}
	}
}

// The shared memory of a killed process knows more than the file can say.
func TestWAL_a_cut_is_damage_if_the_shared_memory_knows_better(t *testing.T) {
	left := killed(t, 50, Config{}, nil)
	wal := left[fileName+"-wal"]
	all := ends(wal)
	for name, size := range map[string]int{"the_last": all[len(all)-2], "many": all[10], "within": all[10] + 300} {
		t.Run(name, func(t *testing.T) {
			image := left.without()
			image[fileName+"-wal"] = wal[:size]
			if n, err := opened(t, image.write(t)); !errors.Is(err, domain.ErrCorrupt) || !strings.Contains(err.Error(), "damaged or missing") {
				t.Fatalf("opened with %d commits and %v, want %v", n, err, domain.ErrCorrupt)
			}
		})
	}
	if n, err := opened(t, left.write(t)); err != nil || n != 50 {
		t.Fatalf("the whole one has %d commits, %v, want 50", n, err)
	}
}

func TestWAL_relaxed_begins_an_epoch_instead(t *testing.T) {
	left := killed(t, 60, Config{Durability: Relaxed}, nil)
	spoiled := left[fileName+"-wal"]
	spoiled[ends(spoiled)[30]+100] ^= 1
	l := open(t, Config{Dir: left.write(t), Logger: quiet("").Logger})
	if got := len(l.epochs); l.Head().Seq >= 60 || got != 2 {
		t.Fatalf("%d commits in %d epochs, want fewer than 60 in 2", l.Head().Seq, got)
	}
}

// An index whose write-ahead log is dropped when some of it has been copied has
// pages of different times, and holes where the fence should be.
func TestWAL_of_the_index_is_not_dropped_in_part(t *testing.T) {
	left := killed(t, 1250, Config{IndexBatch: 10}, func(l *Log) {
		if _, copied, err := walCheckpoint(l.checkpoints.conn, "idx"); err != nil || copied == 0 {
			t.Fatalf("%d pages copied, %v", copied, err)
		}
	})
	name := indexName + "-wal"
	left[name][ends(left[name])[1]+500] ^= 1
	dir := left.write(t)
	if s, err := inspectWAL(filepath.Join(dir, indexName)); err != nil || !s.mixed() {
		t.Fatalf("inspected as %+v, %v, want it mixed", s, err)
	}
	l := open(t, quiet(dir))
	for i := range 1250 {
		if _, err := l.FindCommand(t.Context(), "u-17", fmt.Sprint("c-", i+1)); err != nil {
			t.Fatal(err)
		}
	}
}

// madeWAL is a write-ahead log as SQLite writes it, by other means.
type madeWAL struct {
	b    []byte
	g    generation
	sums []walSum // after each frame
}

func newMadeWAL(random *rand.Rand) *madeWAL {
	h := make([]byte, walHeader)
	binary.BigEndian.PutUint32(h, walMagic|uint32(random.IntN(2)))
	binary.BigEndian.PutUint32(h[4:], walVersion)
	binary.BigEndian.PutUint32(h[8:], 512)
	w := &madeWAL{}
	w.restart(random, h)
	return w
}

// restart begins a generation; what was written stays behind the header.
func (w *madeWAL) restart(random *rand.Rand, header []byte) {
	h := bytes.Clone(header[:walHeader])
	binary.BigEndian.PutUint64(h[16:], random.Uint64())
	g, _ := generationOf(h)
	binary.BigEndian.PutUint32(h[24:], g.sum[0])
	binary.BigEndian.PutUint32(h[28:], g.sum[1])
	w.g, _ = generationOf(h)
	w.sums = []walSum{w.g.sum}
	if len(w.b) < walHeader {
		w.b = make([]byte, walHeader)
	}
	copy(w.b, h)
}

// write writes a transaction after so many frames, or its first frames only.
func (w *madeWAL) write(random *rand.Rand, after, frames, written int) (end int) {
	w.sums = w.sums[:after+1]
	size := walFrameHeader + w.g.page
	for i := range written {
		f := make([]byte, size)
		binary.BigEndian.PutUint32(f, 1+random.Uint32N(1000))
		if i == frames-1 {
			binary.BigEndian.PutUint32(f[4:], 1000)
		}
		copy(f[8:], w.g.salts[:])
		for j := walFrameHeader; j < size; j += 8 {
			binary.BigEndian.PutUint64(f[j:], random.Uint64())
		}
		sum := w.sums[len(w.sums)-1].add(w.g.order, f[:8]).add(w.g.order, f[walFrameHeader:])
		binary.BigEndian.PutUint32(f[16:], sum[0])
		binary.BigEndian.PutUint32(f[20:], sum[1])
		w.sums = append(w.sums, sum)
		at := walHeader + (after+i)*size
		if need := at + size; len(w.b) < need {
			w.b = append(w.b, make([]byte, need-len(w.b))...)
		}
		copy(w.b[at:], f)
	}
	return after + written
}

func (w *madeWAL) inspect(t *testing.T, dir string) walState {
	t.Helper()
	file := filepath.Join(dir, "made")
	if err := os.WriteFile(file+"-wal", w.b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := inspectWAL(file)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestWAL_torn_tails_and_damage_are_told_apart over random histories: older
// generations, transactions that failed and left their frames, a last one of
// which any sectors reached the disk. None of that is damage; a flipped bit
// before the last transaction is.
func TestWAL_torn_tails_and_damage_are_told_apart(t *testing.T) {
	dir := t.TempDir()
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 9))
		w := newMadeWAL(random)
		end, before := 0, 0
		for range random.IntN(30) {
			frames := 1 + random.IntN(4)
			switch random.IntN(8) {
			case 0: // all was copied
				w.restart(random, w.b)
				end, before = 0, 0
			case 1, 2: // failed, its end perhaps written
				w.write(random, end, frames, 1+random.IntN(frames))
			default:
				before = end
				end = w.write(random, end, frames, frames)
			}
		}
		sound := bytes.Clone(w.b)
		if s := w.inspect(t, dir); s.damage() != nil || s.kept < uint32(end) {
			t.Fatalf("seed %d: %+v, want %d sound frames", seed, s, end)
		}
		frames := 1 + random.IntN(4)
		w.write(random, end, frames, frames)
		for at := walHeader + end*(walFrameHeader+w.g.page); at < len(w.b); at = (at/walSector + 1) * walSector {
			if random.IntN(2) == 0 { // as before, or not there
				to := min((at/walSector+1)*walSector, len(w.b))
				copy(w.b[at:to], slices.Concat(sound[min(at, len(sound)):min(to, len(sound))], make([]byte, to-at)))
			}
		}
		if s := w.inspect(t, dir); s.damage() != nil || s.kept < uint32(end) {
			t.Fatalf("seed %d, torn: %+v, want %d sound frames", seed, s, end)
		}

		// A flipped bit in a page before the last transaction. (One in the
		// mark of the end makes two transactions one; a header across
		// sectors proves nothing.)
		w.b = bytes.Clone(sound)
		if before == 0 {
			continue
		}
		frame := random.IntN(before)
		at := walHeader + frame*(walFrameHeader+w.g.page)
		if at%walSector > walSector-walFrameHeader {
			continue
		}
		w.b[at+walFrameHeader+random.IntN(w.g.page)] ^= 1 << random.IntN(8)
		if s := w.inspect(t, dir); !errors.Is(s.damage(), domain.ErrCorrupt) || s.sound != uint32(frame) {
			t.Fatalf("seed %d, bit flipped in frame %d of %d: %+v, %v, want %v", seed, frame+1, end, s, s.damage(), domain.ErrCorrupt)
		}
	}
}
