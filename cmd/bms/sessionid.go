package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// sessionKeyFile, in the data folder, holds the key of the private session
// ids. Without it clients that come back are new ones, and no harm is done.
const sessionKeyFile = "session.key"

// sessionIDs makes the ids that Socket.IO clients get: a public one (sid) and a
// private one (pid), which they send back to go on where they were. A pid is
// all the server remembers of a session: it carries the sid and the time at which
// the session began, and is signed for user and namespace, so that it is good
// after a crash and on any node that has the key, and nobody else's.
//
//	sid  base64url(15 random bytes)
//	pid  base64url(sid's 15 bytes | Unix milliseconds, 6 bytes | HMAC-SHA256 of both, user and namespace, 15 bytes)
type sessionIDs struct{ key []byte }

const (
	sidBytes   = 15
	beganBytes = 6
	macBytes   = 15
)

// openSessionIDs reads the key in the data folder or makes one. The caller
// holds the folder.
func openSessionIDs(dataDir string) (*sessionIDs, error) {
	path := filepath.Join(dataDir, sessionKeyFile)
	key, err := os.ReadFile(path)
	if err == nil && len(key) == sha256.Size {
		return &sessionIDs{key}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the session key: %w", err)
	}
	key = make([]byte, sha256.Size)
	rand.Read(key)
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("write the session key: %w", err)
	}
	return &sessionIDs{key}, nil
}

// newSID makes a public id: 20 characters of base64url.
func (s *sessionIDs) newSID() string {
	b := make([]byte, sidBytes)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// newPID makes the private id of a session that begins.
func (s *sessionIDs) newPID(sid, userID, namespace string, began time.Time) string {
	b, err := base64.RawURLEncoding.DecodeString(sid)
	if err != nil || len(b) != sidBytes { // newSID made it
		panic("sid " + sid + " is none of ours")
	}
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(began.UnixMilli()))
	b = append(b, at[len(at)-beganBytes:]...)
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b, userID, namespace)...))
}

// open returns the sid in a private id, and when the session began, if this
// server made it for that user and namespace.
func (s *sessionIDs) open(pid, userID, namespace string) (sid string, began time.Time, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(pid)
	if err != nil || len(b) != sidBytes+beganBytes+macBytes {
		return "", began, false
	}
	body, mac := b[:sidBytes+beganBytes], b[sidBytes+beganBytes:]
	if !hmac.Equal(mac, s.mac(body, userID, namespace)) {
		return "", began, false
	}
	var at [8]byte
	copy(at[len(at)-beganBytes:], body[sidBytes:])
	return base64.RawURLEncoding.EncodeToString(body[:sidBytes]), time.UnixMilli(int64(binary.BigEndian.Uint64(at[:]))), true
}

func (s *sessionIDs) mac(body []byte, userID, namespace string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(body)
	h.Write([]byte(userID + "\x00" + namespace)) // neither has a NUL in it
	return h.Sum(nil)[:macBytes]
}
