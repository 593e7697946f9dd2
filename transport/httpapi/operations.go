package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"bms/domain"
)

// Types of what operators ask of a node, as the log has them under the keys of
// those who asked: names on disk, never to be changed.
const (
	operationRebuild    = "projection.rebuild"
	operationCancel     = "projection.cancel-rebuild"
	operationRetry      = "projection.retry"
	operationSkip       = "projection.skip"
	operationDisconnect = "connection.disconnect"
)

// operation does what an operator asks, or returns why not, with no effect then.
type operation func(*http.Request, *params) (operated, error)

// operated is the answer to an operation: what the log keeps of it.
type operated struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// operatedJSON is an answer with a value.
func operatedJSON(status int, v any) (operated, error) {
	var buf bytes.Buffer
	err := encodeJSON(&buf, v)
	return operated{Status: status, Body: bytes.TrimSuffix(buf.Bytes(), []byte("\n"))}, err
}

// operate handles an operation, which is for admins.
//
// No stream decides it, but its Idempotency-Key promises what a command's does.
// So what came of it is a commit without events under user and key: durable, in
// backups, found by the index that finds commands, and of one space of keys
// with them. Each is alone in a stream of its own, since none rests on another.
// It is appended after the effect. After a crash in between, a repeat finds the
// connection gone, nothing parked, the rebuild under way, and is told so: no
// effect comes twice. The other way round, what never was done could be answered
// as done for ever.
func (a *api) operate(name string, do operation, known ...param) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := a.identify(r)
		if err != nil {
			return err
		}
		cmd := domain.Command{Type: name, Identity: id, At: a.cfg.Now(), Metadata: metadata(r)}
		if err := a.name(r, &cmd); err != nil {
			return err
		}
		buf := getBuffer()
		defer putBuffer(buf)
		if rejection := a.readBody(w, r, buf); rejection != nil {
			return rejection
		}
		body := buf.Bytes()
		if saysNothing(body) {
			body = nil
		}
		cmd.Fingerprint = operationFingerprint(r, body)
		answer, err := a.once(r.Context(), cmd, func() (operated, error) {
			if err := mayQuery(id, domain.RoleAdmin, ""); err != nil {
				return operated{}, err
			}
			if body != nil {
				return operated{}, domain.Invalid(domain.FieldError{Field: "body", Message: "must be empty, or {}"})
			}
			p, err := readParams(r, known)
			if err != nil {
				return operated{}, err
			}
			return do(r, p)
		})
		if err != nil {
			return err
		}
		if answer.Body == nil {
			w.WriteHeader(answer.Status)
			return nil
		}
		w.Header()["Content-Type"] = jsonType
		writeBody(w, answer.Status, answer.Body)
		return nil
	}
}

// saysNothing reports whether a body is left out, or {}.
func saysNothing(body []byte) bool {
	said := string(bytes.Join(bytes.Fields(body), nil))
	return said == "" || said == "{}"
}

// once does what is asked under a client's key, unless that was done; then it
// gives the answer again. Without a key it is done.
func (a *api) once(ctx context.Context, cmd domain.Command, do func() (operated, error)) (operated, error) {
	if !cmd.Keyed {
		return do()
	}
	// One at a time, so that none is done between another's look and its
	// commit. Operators are few.
	select {
	case a.operating <- struct{}{}:
		defer func() { <-a.operating }()
	case <-ctx.Done():
		return operated{}, ctx.Err()
	}
	if answer, done, err := a.recall(ctx, cmd); done || err != nil {
		return answer, err
	}
	answer, err := do()
	if err != nil {
		return operated{}, err
	}
	commit, err := domain.NewCommit(streamOfOperation(cmd), 1, cmd, domain.Decision{Result: answer})
	if err != nil {
		return operated{}, err
	}
	if answer, err = operatedOf(commit); err != nil { // as it is given again
		return operated{}, err
	}
	// The effect is there: who has hung up is to find its answer all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.CommandTimeout)
	defer cancel()
	err = a.cfg.Log.Append(ctx, commit)
	if errors.Is(err, domain.ErrDuplicateCommand) {
		// A command took the key meanwhile, or another node did the same.
		answer, _, err = a.recall(ctx, cmd)
	}
	if err != nil {
		return operated{}, fmt.Errorf("append what came of %s: %w", cmd.Type, err)
	}
	return answer, nil
}

// recall is what came of an operation when its key was used; done is false if
// it was not.
func (a *api) recall(ctx context.Context, cmd domain.Command) (answer operated, done bool, err error) {
	commit, err := a.cfg.Log.FindCommand(ctx, cmd.Identity.UserID, cmd.ID)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return operated{}, false, nil
	case err != nil:
		return operated{}, false, fmt.Errorf("look up %s: %w", cmd.Type, err)
	case commit.Fingerprint != cmd.Fingerprint:
		return operated{}, false, domain.Reject(domain.CodeIdempotencyMismatch, "the key was used for another request; take a new one")
	}
	answer, err = operatedOf(commit)
	return answer, err == nil, err
}

func operatedOf(commit *domain.Commit) (answer operated, err error) {
	if err := json.Unmarshal(commit.Result, &answer); err != nil {
		return operated{}, fmt.Errorf("decode what came of %s at %s: %w", commit.CommandType, commit.Position, err)
	}
	return answer, nil
}

// streamOfOperation names the stream of a keyed operation.
func streamOfOperation(cmd domain.Command) string {
	sum := sha256.Sum256([]byte(cmd.Identity.UserID + "\x00" + cmd.ID))
	return "operation/" + base64.RawURLEncoding.EncodeToString(sum[:18])
}

// operationFingerprint tells apart what is asked under one key.
func operationFingerprint(r *http.Request, body []byte) string {
	sum := sha256.Sum256(append([]byte(r.Method+" "+r.URL.EscapedPath()+"?"+r.URL.Query().Encode()+"\n"), body...))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}
