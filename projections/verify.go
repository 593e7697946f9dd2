package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bms/domain"
)

// Verification compares three digests at one position: of the file that serves,
// and of two folds from the beginning into scratch files.
type Verification struct {
	Position domain.Position `json:"position"`
	Live     string          `json:"live"`
	First    string          `json:"first"`
	Second   string          `json:"second"`
	// Equal says whether all three are the same.
	Equal bool `json:"equal"`
}

// The two folds of a verification are batched differently: what depends on
// where a batch ends shows, too.
var verifyBatches = [2]int{maxBatch, 377}

// ErrDigestsDiffer is the error of a verification that found a difference: in
// First and Second, the fold is not a pure one; in Live alone, a rebuild puts
// it right.
var ErrDigestsDiffer = errors.New("digests differ")

// scratchDir holds the files of verifications. What is in it is deleted at the
// start.
func scratchDir(dir string) string { return filepath.Join(dir, "scratch") }

func (r *runner) verify(ctx context.Context, j *job) error {
	v := &Verification{}
	f, err := r.look()
	if err != nil {
		return err
	}
	held, err := f.hold(ctx)
	if err == nil {
		v.Position = held.pos
		v.Live, err = held.digest(ctx, rest(ctx))
		err = errors.Join(err, held.release())
	}
	f.views.Done()
	if err != nil {
		return fmt.Errorf("digest of %s: %w", r.name, err)
	}
	if s := r.progress.versionOf(); s != r.version {
		return fmt.Errorf("%w: version %d serves while version %d is folded", ErrUnavailable, s, r.version)
	}
	digests := [2]string{}
	for i := range digests {
		left := v.Position.Seq
		if i == 1 {
			left = 0
		}
		r.rebuilds.set(j, func() { j.again = left })
		if digests[i], err = r.foldScratch(ctx, j, v.Position, verifyBatches[i]); err != nil {
			return err
		}
	}
	v.First, v.Second = digests[0], digests[1]
	v.Equal = v.First == v.Second && v.First == v.Live
	r.rebuilds.set(j, func() { j.result = v })
	switch {
	case v.First != v.Second:
		return fmt.Errorf("%w: two folds of the same log give %s and %s at %s; the fold is not deterministic", ErrDigestsDiffer, v.First, v.Second, v.Position)
	case !v.Equal:
		return fmt.Errorf("%w: the projection has %s at %s, its fold gives %s; a rebuild puts it right", ErrDigestsDiffer, v.Live, v.Position, v.First)
	}
	return nil
}

// foldScratch folds the log up to a position into a file of its own, and
// returns the digest.
func (r *runner) foldScratch(ctx context.Context, j *job, to domain.Position, batch int) (digest string, err error) {
	dir := scratchDir(r.config.Dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make a folder for scratch files: %w", err)
	}
	path := filepath.Join(dir, r.fileName(0))
	if err := discard(path); err != nil {
		return "", err
	}
	in, err := openInstance(r.definition, &r.config, r.logger, path, 0, true)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, in.file.shut(), discard(path)) }()
	j.progress.opened(in.through, to, in.version)
	paced := rest(ctx)
	for in.through.Seq < to.Seq {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		limit := min(batch, in.limit, int(min(to.Seq-in.through.Seq, maxBatch)))
		commits, err := r.config.Log.Read(ctx, in.through.Seq, limit)
		if err != nil {
			return "", fmt.Errorf("read the log: %w", err)
		}
		if len(commits) == 0 {
			return "", fmt.Errorf("%w: it ends at %s, the projection is at %s", domain.ErrCorrupt, in.through, to)
		}
		if err := r.foldScratchBatch(j, in, commits); err != nil {
			return "", err
		}
		in.limit = min(2*in.limit, maxBatch)
		paced()
	}
	_, err = in.file.view(ctx, func(v *snapshot) (err error) {
		digest, err = v.digest(ctx, paced)
		return err
	})
	return digest, err
}

// foldScratchBatch is foldBeside without pauses between the tries of a commit.
func (r *runner) foldScratchBatch(j *job, in *instance, commits []*domain.Commit) error {
	for range 4 * maxTries {
		err := r.foldBeside(j, in, commits)
		if err == nil || !parkable(err) {
			return err
		}
		for len(commits) > 0 && !commits[0].Position.After(in.through) {
			commits = commits[1:]
		}
		if in.limit == 1 && len(commits) > 1 { // the one to blame isn't known: one by one
			for _, c := range commits {
				if err := r.foldScratchBatch(j, in, []*domain.Commit{c}); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return fmt.Errorf("%w: it can't be folded", errTooManyParked)
}
