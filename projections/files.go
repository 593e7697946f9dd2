package projections

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// dbFile is a projection's file by its name, which says all that the fold
// depends on beside the log, and its generation: each rebuild makes the next.
type dbFile struct {
	path    string
	version int
	variant string
	gen     int
}

// fileName is, for instance, stats-v1.db, or, rebuilt twice, stats-v1.2.db.
func (d definition) fileName(gen int) string {
	name := fmt.Sprintf("%s-v%d", d.name, d.version)
	if d.variant != "" {
		name += "-" + d.variant
	}
	if gen > 0 {
		name += "." + strconv.Itoa(gen)
	}
	return name + ".db"
}

// ours reports whether a file is one of this version and variant.
func (d definition) ours(f dbFile) bool {
	return f.version == d.version && f.variant == d.variant
}

// readable reports whether the queries can read a file that is not ours.
func (d definition) readable(f dbFile) bool {
	return f.version == d.version || slices.Contains(d.reads, f.version)
}

// parseFileName reads what fileName wrote.
func parseFileName(projection, path string) (dbFile, bool) {
	f := dbFile{path: path}
	rest, ok := strings.CutPrefix(filepath.Base(path), projection+"-v")
	if !ok {
		return f, false
	}
	rest, ok = strings.CutSuffix(rest, ".db")
	if !ok {
		return f, false
	}
	rest, gen, generations := strings.Cut(rest, ".")
	version, variant, _ := strings.Cut(rest, "-")
	f.variant = variant
	var err error
	if f.version, err = strconv.Atoi(version); err != nil {
		return f, false
	}
	if generations {
		if f.gen, err = strconv.Atoi(gen); err != nil {
			return f, false
		}
	}
	return f, true
}

// filesOf lists a projection's files, the newest version and generation first.
func filesOf(dir, projection string) ([]dbFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []dbFile
	for _, e := range entries {
		if f, ok := parseFileName(projection, filepath.Join(dir, e.Name())); ok {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b dbFile) int {
		return cmp.Or(cmp.Compare(b.version, a.version), cmp.Compare(b.gen, a.gen), strings.Compare(a.variant, b.variant))
	})
	return files, nil
}

// list lists the files that are not busy. The caller holds files.
func (r *runner) list() ([]dbFile, error) {
	all, err := filesOf(r.config.Dir, r.name)
	return slices.DeleteFunc(all, func(f dbFile) bool { return r.busy[f.path] }), err
}

// pick finds the file to serve: the newest of this version that is complete,
// else one of another version that the queries can read, else a new one. A file
// that a rebuild has left half-built comes along, and is busy. What is no good is
// thrown away.
func (r *runner) pick() (serve, half *instance, err error) {
	r.files.Lock()
	defer r.files.Unlock()
	files, err := r.list()
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		switch {
		case half == nil:
		case err != nil:
			err = errors.Join(err, half.file.shut())
			half = nil
		default:
			r.busy[half.file.path] = true
		}
	}()
	for _, f := range files {
		if !r.ours(f) {
			continue
		}
		in, err := r.openSound(f.path, f.gen)
		switch {
		case err != nil:
			return nil, half, err
		case in == nil: // thrown away
		case !in.file.beside:
			if in.through.Seq == 0 { // it may have been made a moment before the process ended
				err = r.inheritFromFiles(in, files)
			}
			if err != nil {
				return nil, half, errors.Join(err, in.file.shut())
			}
			return in, half, nil
		case half == nil && len(r.busy) == 0:
			half = in
		default:
			if err := errors.Join(in.file.shut(), discard(f.path)); err != nil {
				return nil, half, err
			}
		}
	}
	if old := r.pickOther(files); old != nil {
		return old, half, nil
	}
	if half != nil { // nothing else is there to serve
		serve, half = half, nil
		err := r.inheritFromFiles(serve, files)
		if err == nil {
			err = serve.file.promote(serve.written)
		}
		if err != nil {
			return nil, nil, errors.Join(err, serve.file.shut())
		}
		return serve, nil, nil
	}
	serve, err = r.createFree(false)
	if err != nil {
		return nil, nil, err
	}
	r.logger.Info("folding a new projection file from the log", "file", filepath.Base(serve.file.path))
	if err := r.inheritFromFiles(serve, files); err != nil {
		return nil, nil, errors.Join(err, serve.file.shut())
	}
	return serve, nil, nil
}

// pickOther opens a file of another version or variant that the queries can
// read; nil if there is none.
func (r *runner) pickOther(files []dbFile) *instance {
	for _, f := range files {
		if r.ours(f) || !r.readable(f) {
			continue
		}
		in, err := r.openOther(f)
		if err == nil {
			return in
		}
		r.logger.Warn("projection file of another version can't serve", "file", filepath.Base(f.path), "reason", err)
	}
	return nil
}

func (r *runner) openOther(f dbFile) (*instance, error) {
	old, err := openFile(f.path, "", false)
	if err != nil {
		return nil, err
	}
	in := &instance{definition: r.definition, config: &r.config, logger: r.logger, gen: f.gen, file: old}
	in.version = f.version
	in.through, err = position(context.Background(), old.writer)
	if err == nil && old.beside {
		err = errors.New("it is half-built")
	}
	if err == nil && in.through.Seq > 0 {
		err = r.config.Log.Check(in.through)
	}
	if err != nil {
		return nil, errors.Join(err, old.shut())
	}
	return in, nil
}

// create makes a file of this version, of the next generation.
func (r *runner) create(beside bool) (*instance, error) {
	r.files.Lock()
	defer r.files.Unlock()
	return r.createFree(beside)
}

// createFree is create for who holds files. A file beside is busy.
func (r *runner) createFree(beside bool) (*instance, error) {
	files, err := filesOf(r.config.Dir, r.name) // the busy ones, too
	if err != nil {
		return nil, err
	}
	gen := 0
	if beside {
		gen = 1
	}
	for _, f := range files {
		if r.ours(f) {
			gen = max(gen, f.gen+1)
		}
	}
	path := filepath.Join(r.config.Dir, r.fileName(gen))
	if err := discard(path); err != nil {
		return nil, fmt.Errorf("throw what is left of %s away: %w", path, err)
	}
	in, err := openInstance(r.definition, &r.config, r.logger, path, gen, beside)
	if err == nil && beside {
		r.busy[path] = true
	}
	return in, err
}

// drop deletes a file that nobody has open any more.
func (r *runner) drop(path string) error {
	r.files.Lock()
	defer r.files.Unlock()
	delete(r.busy, path)
	return discard(path)
}

// openSound opens a file of this version; nil for one that was no good and is
// thrown away.
func (r *runner) openSound(path string, gen int) (*instance, error) {
	in, err := openInstance(r.definition, &r.config, r.logger, path, gen, false)
	if damaged(err) {
		r.logger.Warn("projection file is no good; folding a new one from the log", "file", filepath.Base(path), "reason", err)
		if err := discard(path); err != nil {
			return nil, fmt.Errorf("throw %s away: %w", path, err)
		}
		return nil, nil
	}
	return in, err
}

// inheritFromFiles has a new file take over from the newest file that there is,
// whatever its version, or begin without one. One that can't be read has nothing
// to give.
func (r *runner) inheritFromFiles(in *instance, files []dbFile) error {
	if r.inherit == nil {
		return nil
	}
	for _, f := range files {
		if _, err := os.Stat(f.path); err != nil || f.path == in.file.path {
			continue
		}
		from, err := connect(f.path, readerSettings...)
		if err != nil {
			continue
		}
		took, err := r.takeOver(in, from)
		if err := errors.Join(err, from.close()); err != nil || took {
			return err
		}
	}
	if r.begin == nil {
		return nil
	}
	return in.within(func() error { return r.begin(context.Background(), in.file, r.config.Log) })
}

// takeOver has a file inherit from another, if that has anything to give.
func (r *runner) takeOver(in *instance, from *conn) (took bool, err error) {
	err = in.within(func() error { return r.inherit(in.file, from) })
	if errors.Is(err, errNoGood) {
		return false, nil
	}
	return err == nil, err
}

// within runs do in a transaction of a file that moves on by nothing.
func (in *instance) within(do func() error) error {
	if err := in.file.begin(); err != nil {
		return err
	}
	if err := do(); err != nil {
		return errors.Join(err, in.file.rollback())
	}
	return in.file.commit(in.written)
}

// dropOld deletes the files that serve no more.
func (r *runner) dropOld(serves string) error {
	r.files.Lock()
	defer r.files.Unlock()
	files, err := r.list()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if f.path != serves {
			errs = append(errs, discard(f.path))
		}
	}
	return errors.Join(errs...)
}

// discard deletes a projection's file and what belongs to it.
func discard(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
