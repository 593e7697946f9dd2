package httpapi

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"

	"bms/domain"
	"bms/projections"
)

// Codes of what is asked of projections.
const (
	codeUnknownProjection = "unknown_projection"
	codeRebuildRunning    = "rebuild_running"
	codeNoRebuild         = "no_rebuild"
	codeUnknownParked     = "unknown_parked"
	codeParkedBehind      = "parked_behind"
	codeStillFailing      = "still_failing"
)

// allProjections is the name that stands for all of them.
const allProjections = "all"

// paramVerify is the one parameter of a rebuild.
var paramVerify = param{
	name: "verify", schema: "boolean", def: false,
	about: "Don't rebuild, but fold twice into scratch files and compare the digests with that of the read model.",
}

// projectionRoutes are what operators ask of the read models.
func (a *api) projectionRoutes() []routeEntry {
	rows := reflect.TypeFor[projections.Page[projections.Status]]()
	row := reflect.TypeFor[projections.Status]()
	return []routeEntry{
		{
			method: http.MethodPost, path: "/api/projections/{name}/rebuild", summary: `Rebuild a read model beside the one that serves, or all of them (name "all"), or verify it`, tag: "node", roles: "admin",
			params: []param{paramVerify}, status: http.StatusAccepted, answer: rows, handle: a.operate(operationRebuild, a.startRebuild, paramVerify),
		},
		{
			method: http.MethodDelete, path: "/api/projections/{name}/rebuild", summary: "Cancel a rebuild or a verification", tag: "node", roles: "admin",
			status: http.StatusNoContent, handle: a.operate(operationCancel, a.cancelRebuild),
		},
		{
			method: http.MethodPost, path: "/api/projections/{name}/parked/{pos}/retry", summary: "Fold a parked commit, and those that wait behind it", tag: "node", roles: "admin",
			status: http.StatusOK, answer: row, handle: a.operate(operationRetry, a.release(a.cfg.Read.RetryParked)),
		},
		{
			method: http.MethodPost, path: "/api/projections/{name}/parked/{pos}/skip", summary: "Leave a parked commit out, and fold those that wait behind it", tag: "node", roles: "admin",
			status: http.StatusOK, answer: row, handle: a.operate(operationSkip, a.release(a.cfg.Read.SkipParked)),
		},
	}
}

// startRebuild answers with the projections of which one was started. Of all of
// them, those that are being rebuilt are left to it.
func (a *api) startRebuild(r *http.Request, p *params) (operated, error) {
	start := a.cfg.Read.Rebuild
	if p.boolean(paramVerify.name) {
		start = a.cfg.Read.Verify
	}
	if err := p.err(); err != nil {
		return operated{}, err
	}
	names := []string{r.PathValue("name")}
	if names[0] == allProjections {
		names = a.cfg.Read.Names()
	}
	var started []string
	var refused error
	for _, name := range names {
		switch err := start(name); {
		case err == nil:
			started = append(started, name)
		case errors.Is(err, projections.ErrRebuilding):
			refused = err
		default:
			return operated{}, projectionError(name, err)
		}
	}
	if len(started) == 0 {
		return operated{}, projectionError(names[0], refused)
	}
	items := slices.DeleteFunc(a.cfg.Read.Status(), func(s projections.Status) bool { return !slices.Contains(started, s.Name) })
	return operatedJSON(http.StatusAccepted, projections.Page[projections.Status]{Items: items, Pos: a.cfg.Log.Head()})
}

func (a *api) cancelRebuild(r *http.Request, _ *params) (operated, error) {
	name := r.PathValue("name")
	if err := a.cfg.Read.CancelRebuild(name); err != nil {
		return operated{}, projectionError(name, err)
	}
	return operated{Status: http.StatusNoContent}, nil
}

// release retries or skips a parked commit and answers how the projection is
// then.
func (a *api) release(how func(ctx context.Context, projection string, pos domain.Position) error) operation {
	return func(r *http.Request, _ *params) (operated, error) {
		name := r.PathValue("name")
		pos, err := domain.ParsePosition(r.PathValue("pos"))
		if err != nil {
			return operated{}, domain.Invalid(domain.FieldError{Field: "pos", Message: "is not a position"})
		}
		if err := how(r.Context(), name, pos); err != nil {
			return operated{}, projectionError(name, err)
		}
		status, err := a.projection(name)
		if err != nil {
			return operated{}, err
		}
		return operatedJSON(http.StatusOK, status)
	}
}

// projection is the row of one.
func (a *api) projection(name string) (projections.Status, error) {
	for _, s := range a.cfg.Read.Status() {
		if s.Name == name {
			return s, nil
		}
	}
	return projections.Status{}, projectionError(name, projections.ErrUnknownProjection)
}

func oneProjection(a *api, q *query) (any, error) {
	s, err := a.projection(q.path("name"))
	if err != nil {
		return nil, err
	}
	q.at(s.Position)
	return s, nil
}

func listParked(a *api, q *query) (any, error) {
	cursor, limit := q.cursor()
	if err := q.err(); err != nil {
		return nil, err
	}
	p, err := a.cfg.Read.Parked(q.ctx, q.path("name"), cursor, limit)
	p.Items = some(p.Items)
	return p, projectionError(q.path("name"), err)
}

func listDigests(a *api, q *query) (any, error) {
	list, err := a.cfg.Read.NotedDigests(q.path("name"))
	if err != nil {
		return nil, projectionError(q.path("name"), err)
	}
	return projections.Page[projections.NotedDigest]{Items: some(list), Pos: a.cfg.Log.Head()}, nil
}

// projectionError answers an error about the projection of that name.
func projectionError(name string, err error) error {
	switch {
	case errors.Is(err, projections.ErrUnknownProjection):
		return domain.Reject(codeUnknownProjection, "there is no projection %q", shown(name))
	case errors.Is(err, projections.ErrRebuilding):
		return domain.Reject(codeRebuildRunning, "projection %q is being rebuilt or verified; cancel that, or wait for it", name)
	case errors.Is(err, projections.ErrNoRebuild):
		return domain.Reject(codeNoRebuild, "projection %q is not being rebuilt", name)
	case errors.Is(err, projections.ErrNotParked):
		return domain.Reject(codeUnknownParked, "nothing is parked there")
	case errors.Is(err, projections.ErrParkedBehind):
		return domain.Reject(codeParkedBehind, "it waits behind an earlier commit with one of its keys; retry or skip that one first")
	case errors.Is(err, projections.ErrStillFailing):
		r := domain.Reject(codeStillFailing, "it still can't be folded, and stays parked")
		r.Details = map[string]any{"error": err.Error()}
		return r
	}
	return err
}
