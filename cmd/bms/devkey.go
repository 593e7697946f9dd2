package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bms/transport/auth"
)

// devKeyFile, in the data folder, holds the signing key that --dev makes.
const devKeyFile = "dev.key"

// readDevKey returns the development key of a data folder. The error wraps
// fs.ErrNotExist if there is none.
func readDevKey(dataDir string) ([]byte, error) {
	path := filepath.Join(dataDir, devKeyFile)
	key, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(key) < auth.MinSecretBytes {
		return nil, fmt.Errorf("development key %s is damaged: delete it, --dev makes a new one", path)
	}
	return key, nil
}

// makeDevKey returns the development key of a data folder, which it makes if
// there is none, readable by its owner only. The caller holds the folder (the
// open log does): nobody else makes one meanwhile.
func makeDevKey(dataDir string) ([]byte, error) {
	key, err := readDevKey(dataDir)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	random := make([]byte, 32)
	rand.Read(random)
	key = []byte(hex.EncodeToString(random))
	path := filepath.Join(dataDir, devKeyFile)
	// Renamed when complete, so that `bms token` never reads half a key.
	if err := os.WriteFile(path+".new", key, 0o600); err != nil {
		return nil, fmt.Errorf("write the development key: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("write the development key: %w", err)
	}
	return key, nil
}
