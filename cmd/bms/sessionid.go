package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// sessionKeyFile, in the data folder, holds the key of the private session
// ids. Without it clients that come back are new ones, and no harm is done.
const sessionKeyFile = "session.key"

// sessionIDs makes the ids that Socket.IO clients get: a public one (sid) and a
// private one (pid), which they send back to go on where they were. A pid is
// all the server remembers of a session: it carries the sid and is signed for
// user and namespace, so that it is good after a crash and on any node that
// has the key, and nobody else's.
//
//	sid  base64url(15 random bytes)
//	pid  base64url(sid's 15 bytes | 6 random bytes | HMAC-SHA256 of both, user and namespace, 15 bytes)
type sessionIDs struct{ key []byte }

const (
	sidBytes   = 15
	nonceBytes = 6
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

// newPID makes a private id for a sid; each is another one.
func (s *sessionIDs) newPID(sid, userID, namespace string) string {
	b, err := base64.RawURLEncoding.DecodeString(sid)
	if err != nil || len(b) != sidBytes { // newSID made it
		panic("sid " + sid + " is none of ours")
	}
	nonce := make([]byte, nonceBytes)
	rand.Read(nonce)
	b = append(b, nonce...)
	return base64.RawURLEncoding.EncodeToString(append(b, s.mac(b, userID, namespace)...))
}

// open returns the sid in a private id if this server made it for that user
// and namespace.
func (s *sessionIDs) open(pid, userID, namespace string) (sid string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(pid)
	if err != nil || len(b) != sidBytes+nonceBytes+macBytes {
		return "", false
	}
	body, mac := b[:sidBytes+nonceBytes], b[sidBytes+nonceBytes:]
	if !hmac.Equal(mac, s.mac(body, userID, namespace)) {
		return "", false
	}
	return base64.RawURLEncoding.EncodeToString(body[:sidBytes]), true
}

func (s *sessionIDs) mac(body []byte, userID, namespace string) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write(body)
	h.Write([]byte(userID + "\x00" + namespace)) // neither has a NUL in it
	return h.Sum(nil)[:macBytes]
}
