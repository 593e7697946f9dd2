package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"

	"bms/domain"
	"bms/projections"
)

// queryRoute is a row of the table of queries.
type queryRoute struct {
	path    string
	summary string
	// least is the role it takes at least; with {b} in the path, of that
	// branch.
	least  string
	params []param
	// reads are the projections that minPos waits for; nil for the log.
	reads []string
	// answer is what it answers, for the document.
	answer reflect.Type
	serve  func(*api, *query) (any, error)
}

// query is a request for a read model, with its identity and parameters.
type query struct {
	ctx    context.Context
	header http.Header // of the answer
	path   func(name string) string
	id     domain.Identity
	*params
}

// branch is the branch of the path.
func (q *query) branch() string { return q.path("b") }

// at says in the header which position of the read model an answer without
// pos is from.
func (q *query) at(pos domain.Position) { q.header.Set("Bms-Pos", pos.String()) }

// query handles a row of the table of queries.
func (a *api) query(row queryRoute) handler {
	known := append(slices.Clone(row.params), paramMinPos)
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := a.identify(r)
		if err != nil {
			return err
		}
		if err := mayQuery(id, row.least, r.PathValue("b")); err != nil {
			return err
		}
		p, err := readParams(r, known)
		if err != nil {
			return err
		}
		minPos := p.position(paramMinPos.name)
		if err := p.err(); err != nil {
			return err
		}
		if minPos.Seq > 0 {
			if err := a.await(r.Context(), minPos, row.reads); err != nil {
				return err
			}
		}
		// Also after minPos: what its commit entailed, before it was answered,
		// is in the log behind it.
		a.freshen(r.Context(), row.reads)
		answer, err := row.serve(a, &query{ctx: r.Context(), header: w.Header(), path: r.PathValue, id: id, params: p})
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, answer)
	}
}

// mayQuery checks role and branch ("" for none).
func mayQuery(id domain.Identity, least, branchID string) error {
	switch {
	case id.Role == domain.RoleAdmin:
		return nil
	case least == domain.RoleAdmin, least == domain.RoleManager && id.Role != domain.RoleManager:
		return domain.Reject(domain.CodeRoleForbidden, "this is for %ss, and you are %s", least, id.Role)
	case branchID != "" && !id.OfBranch(branchID):
		return domain.Reject(domain.CodeBranchForbidden, "branch %q is not yours", branchID)
	}
	return nil
}

// await waits, at most ReadTimeout, until the read models have reached a
// position; the log for none of them.
func (a *api) await(ctx context.Context, pos domain.Position, reads []string) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.ReadTimeout)
	defer cancel()
	err := a.cfg.Log.Check(pos)
	if err == nil && len(reads) == 0 && pos.Seq > a.cfg.Log.Head().Seq {
		_, err = a.cfg.Log.Next(ctx, pos.Seq-1, 1)
	}
	for i := 0; err == nil && i < len(reads); i++ {
		err = a.cfg.Read.WaitFor(ctx, reads[i], pos)
	}
	switch {
	case errors.Is(err, domain.ErrUnknownPosition), errors.Is(err, domain.ErrTrimmed):
		return domain.Invalid(domain.FieldError{Field: paramMinPos.name, Message: "is not a position of this log"})
	case errors.Is(err, context.DeadlineExceeded):
		return domain.Reject(codeReadModelBehind, "the read model has not reached minPos yet, ask again")
	}
	return err
}

// freshen waits, at most FreshWait, until the read models have what the log has
// now. One that is further behind is read as it is.
func (a *api) freshen(ctx context.Context, reads []string) {
	head := a.cfg.Log.Head()
	if head.Seq == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.cfg.FreshWait)
	defer cancel()
	for _, name := range reads {
		if a.cfg.Read.WaitFor(ctx, name, head) != nil {
			return
		}
	}
}

// unknownBranch is the answer to an empty result: unknown_branch if there is
// no such branch, else nil. The branch's read model may be a moment behind the
// others, hence it is asked only then.
func (a *api) unknownBranch(q *query) error {
	_, _, err := a.cfg.Read.Branch(q.ctx, q.branch())
	if errors.Is(err, projections.ErrNotFound) {
		return domain.Reject(domain.CodeUnknownBranch, "branch %q is not known", q.branch())
	}
	return err
}

// page answers a page of a branch's list; an empty one only if there is such a
// branch.
func page[T any](a *api, q *query, p projections.Page[T], err error) (any, error) {
	if err != nil {
		return nil, err
	}
	if len(p.Items) == 0 {
		if err := a.unknownBranch(q); err != nil {
			return nil, err
		}
		p.Items = []T{}
	}
	return p, nil
}

// one answers a single thing of a branch, or why there is none.
func one[T any](a *api, q *query, v T, pos domain.Position, err error, code, what, id string) (any, error) {
	if errors.Is(err, projections.ErrNotFound) {
		if err := a.unknownBranch(q); err != nil {
			return nil, err
		}
		return nil, domain.Reject(code, "%s %q is not known", what, id)
	}
	if err != nil {
		return nil, err
	}
	q.at(pos)
	return v, nil
}

// writeJSON answers with a value, names as typed.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	buf := getBuffer()
	defer putBuffer(buf)
	if err := encodeJSON(buf, v); err != nil {
		return err
	}
	w.Header()["Content-Type"] = jsonType
	writeBody(w, status, bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
	return nil
}

func encodeJSON(buf *bytes.Buffer, v any) error {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
