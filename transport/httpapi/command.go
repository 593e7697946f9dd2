package httpapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"bms/domain"
)

// command handles a row of the table of commands.
func (a *api) command(row commandRoute) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := a.identify(r)
		if err != nil {
			return err
		}
		if _, err := readParams(r, nil); err != nil {
			return err
		}
		cmd := domain.Command{Type: row.command, Identity: id}
		if err := a.name(r, &cmd); err != nil {
			return err
		}
		body, release, rejection := a.readCommand(w, r, row)
		if rejection != nil {
			return rejection
		}
		defer release()
		cmd.Body = body
		if row.branch != nil {
			cmd.BranchID = row.branch(r, body)
		}
		cmd.Fingerprint = Fingerprint(cmd.Type, cmd.BranchID, body)
		cmd.At = a.cfg.Now()
		cmd.Metadata = metadata(r)

		ctx, cancel := context.WithTimeout(r.Context(), a.cfg.CommandTimeout)
		defer cancel()
		commit, err := a.cfg.Commands(ctx, cmd)
		if err != nil {
			return err
		}
		answer := getBuffer()
		defer putBuffer(answer)
		answer.Write(domain.AppendAnswer(answer.AvailableBuffer(), commit))
		w.Header()["Content-Type"] = jsonType
		writeBody(w, row.statusOf(body), answer.Bytes())
		return nil
	}
}

// name gives a command its id: the Idempotency-Key, else a new one.
func (a *api) name(r *http.Request, cmd *domain.Command) error {
	switch keys := r.Header["Idempotency-Key"]; len(keys) {
	case 0:
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		cmd.ID = id.String()
	case 1:
		if !ValidKey(keys[0]) {
			return domain.Invalid(domain.FieldError{Field: "Idempotency-Key", Message: "must be 1 to 255 printable ASCII characters"})
		}
		cmd.ID, cmd.Keyed = keys[0], true
	default:
		return domain.Invalid(domain.FieldError{Field: "Idempotency-Key", Message: "is there twice"})
	}
	return nil
}

// ValidKey reports whether a client's key can be a command's id: 1 to
// domain.MaxCommandID printable ASCII characters.
func ValidKey(key string) bool {
	if key == "" || len(key) > domain.MaxCommandID {
		return false
	}
	for i := range len(key) {
		if key[i] < 0x20 || key[i] > 0x7e {
			return false
		}
	}
	return true
}

// buffers hold bodies and answers while they are read and written.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer {
	buf := buffers.Get().(*bytes.Buffer)
	buf.Reset()
	return buf
}

// largeBuffer is what is not kept, in bytes.
const largeBuffer = 64 << 10

// putBuffer gives a buffer back, unless it has grown large.
func putBuffer(buf *bytes.Buffer) {
	if buf.Cap() <= largeBuffer {
		buffers.Put(buf)
	}
}

// readCommand reads and decodes the body, which takes its room among those under
// way until release is called. Nothing of the buffer outlives it: decoding copies.
func (a *api) readCommand(w http.ResponseWriter, r *http.Request, row commandRoute) (body any, release func(), rejection *domain.Rejection) {
	buf := getBuffer()
	defer putBuffer(buf)
	if rejection := a.readBody(w, r, buf); rejection != nil {
		return nil, nil, rejection
	}
	raw := buf.Bytes()
	if release, rejection = a.underWay.take(int64(len(raw))); rejection != nil {
		return nil, nil, rejection
	}
	defer func() {
		if body == nil { // refused, or the decoder panicked
			release()
		}
	}()
	if row.bare() && len(bytes.TrimSpace(raw)) == 0 {
		raw = []byte("{}")
	}
	body, rejection = decodeBody(row.command, raw, row.bind(r))
	return body, release, rejection
}

// readBody reads a body of at most MaxBody bytes, by the deadline that the
// server has set. The type that the client gives it is not looked at: a body that isn't
// the JSON of the schema is refused as such, and a token is nothing a browser
// adds by itself.
func (a *api) readBody(w http.ResponseWriter, r *http.Request, buf *bytes.Buffer) *domain.Rejection {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return domain.Invalid(domain.FieldError{Field: "Content-Encoding", Message: "is not taken: send the body as it is"})
	}
	if r.ContentLength > a.cfg.MaxBody {
		// Else the server would read, and throw away, some of it first.
		w.Header().Set("Connection", "close")
		return a.tooLarge()
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, a.cfg.MaxBody))
	switch {
	case err == nil:
		// The body is here: what its deadline guarded against is over. A
		// connection without deadlines, as a test's recorder, has no slow
		// clients.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
		return nil
	case errors.As(err, new(*http.MaxBytesError)):
		return a.tooLarge()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return domain.Invalid(domain.FieldError{Field: "body", Message: "ends before its Content-Length"})
	default:
		w.Header().Set("Connection", "close")
		return domain.Invalid(domain.FieldError{Field: "body", Message: "could not be read in time"})
	}
}

func (a *api) tooLarge() *domain.Rejection {
	r := domain.Reject(codeBodyTooLarge, "the body has more than %d bytes", a.cfg.MaxBody)
	r.Details = map[string]any{"limit": a.cfg.MaxBody}
	return r
}
