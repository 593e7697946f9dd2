package projections

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strings"
)

// A file that was closed in order is sealed: {file}.sum holds the CRC-32C of
// its bytes, for SQLite has no checksums of its own and would serve a flipped
// bit in a value. Opening takes the seal off, so that a file without one is one
// whose process was killed.

// maxSealed is the size up to which a file is sealed; beyond it, reading it
// all would hold up the end of the process too long.
const maxSealed = 2 << 30

func sealName(path string) string { return path + ".sum" }

// seal writes the seal of a closed file.
func seal(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	if info.Size() > maxSealed {
		return nil
	}
	sum, err := checksum(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(sealName(path), []byte(sum), 0o600); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	return nil
}

// unseal takes the seal off. It returns true if there was one and the file is
// as it was, and an error that wraps errStale if the file was changed.
func unseal(path string) (sound bool, err error) {
	want, err := os.ReadFile(sealName(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the seal: %w", err)
	}
	got, err := checksum(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("%w: %s is gone and its seal is there", errStale, path)
	case err != nil:
		return false, err
	case got != strings.TrimSpace(string(want)):
		return false, fmt.Errorf("%w: %s has checksum %s, its seal says %q", errStale, path, got, want)
	}
	if err := os.Remove(sealName(path)); err != nil {
		return false, fmt.Errorf("take the seal off: %w", err)
	}
	return true, nil
}

func checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("checksum: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	h := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("checksum %s: %w", path, err)
	}
	return fmt.Sprintf("%08x", h.Sum32()), nil
}

// discard deletes a projection's file and what belongs to it.
func discard(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", ".sum"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
