package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"bms/domain"
)

// api is a node's HTTP interface.
type api struct {
	base   string
	client *http.Client
	// patience bounds what is asked until there is an answer.
	patience time.Duration
}

func newAPI(base *url.URL, connections int, patience time.Duration) *api {
	return &api{
		patience: patience,
		base:     strings.TrimSuffix(base.String(), "/"),
		client: &http.Client{
			Timeout:   time.Minute,
			Transport: &http.Transport{MaxIdleConns: connections, MaxIdleConnsPerHost: connections, DisableCompression: true},
		},
	}
}

// reply is what the node said.
type reply struct {
	status     int
	retryAfter time.Duration
	body       []byte // good until buf is used again
}

func (r reply) ok() bool { return r.status >= 200 && r.status < 300 }

func (r reply) err(method, path string) error {
	return fmt.Errorf("%s %s: %d %.300s", method, path, r.status, bytes.TrimSpace(r.body))
}

// call makes a request. The answer is read into buf. An error says that it is
// not known what became of the request.
func (a *api) call(ctx context.Context, method, path, token, key string, body []byte, buf *bytes.Buffer) (reply, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, content)
	if err != nil {
		return reply{}, err
	}
	// A repetition has to be seen by who counts: the transport makes none.
	req.GetBody = nil
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	buf.Reset()
	if _, err := buf.ReadFrom(res.Body); err != nil {
		return reply{}, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	r := reply{status: res.StatusCode, body: buf.Bytes()}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil {
		r.retryAfter = time.Duration(seconds) * time.Second
	}
	return r, nil
}

// reach says at once if there is no node at the URL, or one that doesn't take
// our tokens.
func (a *api) reach(ctx context.Context, token string) error {
	const path = "/api/stats"
	var buf bytes.Buffer
	r, err := a.call(ctx, http.MethodGet, path, token, "", nil, &buf)
	if err == nil && !r.ok() {
		err = r.err(http.MethodGet, path)
	}
	return err
}

// get asks until there is an answer, or for as long as patience lasts, for what
// the end of a run needs: the node may still be starting.
func (a *api) get(ctx context.Context, path, token string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	var buf bytes.Buffer
	for {
		r, err := a.call(ctx, http.MethodGet, path, token, "", nil, &buf)
		switch {
		case err == nil && r.ok():
			if err := json.Unmarshal(r.body, into); err != nil {
				return fmt.Errorf("GET %s: %w", path, err)
			}
			return nil
		case err == nil && r.status < 500 && r.status != http.StatusTooManyRequests:
			return r.err(http.MethodGet, path)
		case err == nil:
			err = r.err(http.MethodGet, path)
		}
		select {
		case <-time.After(max(r.retryAfter, 200*time.Millisecond)):
		case <-ctx.Done():
			return err
		}
	}
}

// follow reads the log from a position on, as far as it goes, into log.
func (a *api) follow(ctx context.Context, token string, after domain.Position, log []Event) ([]Event, domain.Position, error) {
	for {
		var page struct {
			Items      []json.RawMessage `json:"items"`
			NextCursor string            `json:"nextCursor"`
		}
		query := url.Values{"limit": {"500"}}
		if after.Seq > 0 {
			query.Set("after", after.String())
		}
		if err := a.get(ctx, "/api/events?"+query.Encode(), token, &page); err != nil {
			return log, after, fmt.Errorf("read the log: %w", err)
		}
		for _, raw := range page.Items {
			e, err := ParseEvent(raw)
			if err != nil {
				return log, after, fmt.Errorf("read the log: %w", err)
			}
			log, after = append(log, e), e.Pos
		}
		if page.NextCursor == "" {
			return log, after, nil
		}
		next, err := domain.ParsePosition(page.NextCursor)
		if err != nil {
			return log, after, fmt.Errorf("read the log: nextCursor: %w", err)
		}
		after = next
	}
}

// levels reads the stock levels of a branch, at a position or later.
func (a *api) levels(ctx context.Context, token, branch string, at domain.Position) ([]Level, error) {
	var all []Level
	query := url.Values{"limit": {"500"}, "minPos": {at.String()}}
	for {
		var page struct {
			Items      []Level `json:"items"`
			NextCursor string  `json:"nextCursor"`
		}
		if err := a.get(ctx, "/api/branches/"+branch+"/inventory?"+query.Encode(), token, &page); err != nil {
			return nil, fmt.Errorf("read the stock of %s: %w", branch, err)
		}
		for _, l := range page.Items {
			l.BranchID = branch
			all = append(all, l)
		}
		if page.NextCursor == "" {
			return all, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}
