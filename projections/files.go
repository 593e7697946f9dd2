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

// pick finds the file to serve: the newest of this version that is complete,
// else one of another version that the queries can read, else a new one. A file
// that a rebuild has left half-built comes along. The file that building names
// is in use, and left alone. What is no good is thrown away.
func (r *runner) pick(building string) (serve, half *instance, err error) {
	files, err := filesOf(r.config.Dir, r.name)
	if err != nil {
		return nil, nil, err
	}
	files = slices.DeleteFunc(files, func(f dbFile) bool { return f.path == building })
	defer func() {
		if err != nil && half != nil {
			err = errors.Join(err, half.file.shut())
			half = nil
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
			return in, half, nil
		case half == nil && building == "":
			half = in
		default:
			if err := errors.Join(in.file.shut(), discard(f.path)); err != nil {
				return nil, half, err
			}
		}
	}
	for _, f := range files {
		if r.ours(f) || !r.readable(f) {
			continue
		}
		old, err := openFile(f.path, "", false)
		if err != nil || old.beside {
			if err == nil {
				err = old.shut()
			}
			r.logger.Warn("projection file of another version can't serve", "file", filepath.Base(f.path), "reason", err)
			continue
		}
		in := &instance{definition: r.definition, config: &r.config, logger: r.logger, gen: f.gen, file: old}
		in.version = f.version
		in.through, err = position(context.Background(), old.writer)
		if err == nil && in.through.Seq > 0 {
			err = r.config.Log.Check(in.through)
		}
		if err != nil {
			r.logger.Warn("projection file of another version can't serve", "file", filepath.Base(f.path), "reason", errors.Join(err, old.shut()))
			continue
		}
		return in, half, nil
	}
	if half != nil { // nothing else is there to serve
		if err := half.file.promote(half.written); err != nil {
			return nil, half, err
		}
		return half, nil, nil
	}
	path := filepath.Join(r.config.Dir, r.fileName(0))
	r.logger.Info("folding a new projection file from the log", "file", filepath.Base(path))
	if err := discard(path); err != nil {
		return nil, nil, fmt.Errorf("throw what is left of %s away: %w", path, err)
	}
	in, err := openInstance(r.definition, &r.config, r.logger, path, 0, false)
	if err != nil {
		return nil, nil, err
	}
	if err := r.inheritFromFiles(in, files); err != nil {
		return nil, nil, errors.Join(err, in.file.shut())
	}
	return in, nil, nil
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
// whatever its version. One that can't be read has nothing to give.
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
		err = errors.Join(r.takeOver(in, from), from.close())
		if err != nil {
			return err
		}
		return nil
	}
	return nil
}

// takeOver runs inherit in a transaction.
func (r *runner) takeOver(in *instance, from *conn) error {
	if err := in.file.begin(); err != nil {
		return err
	}
	if err := r.inherit(in.file, from); err != nil {
		return errors.Join(err, in.file.rollback())
	}
	return in.file.commit(in.written)
}

// dropOld deletes the files that serve no more.
func (r *runner) dropOld(keep ...string) error {
	files, err := filesOf(r.config.Dir, r.name)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		if !slices.Contains(keep, f.path) {
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
