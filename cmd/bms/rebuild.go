package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"bms/domain"
	"bms/projections"
)

// rebuildConfig is what `bms rebuild` was told.
type rebuildConfig struct {
	url, token     string
	signer         signer // of a token, if there is none
	verify, cancel bool
}

func rebuildCommand() (*flagSet, runFunc) {
	f, c := newFlagSet("rebuild"), &rebuildConfig{}
	f.operands = []string{"NAME|all"}
	f.StringVar(&c.url, "url", "http://localhost:3001", "`URL` of the node")
	f.secret(&c.token, "token", "an admin's `token`; without one it is signed as bms token does")
	c.signer.define(f)
	f.BoolVar(&c.verify, "verify", false, "don't rebuild: fold twice into scratch files and compare the digests with that of the read model")
	f.BoolVar(&c.cancel, "cancel", false, "cancel what is under way")
	return f, func(ctx context.Context, stdout, _ io.Writer) error {
		client, err := c.client()
		if err != nil {
			return err
		}
		if c.cancel {
			return client.cancel(ctx, f.given[0], stdout)
		}
		return client.rebuild(ctx, f.given[0], c.verify, newRebuildLines(stdout))
	}
}

// client makes what asks the node.
func (c *rebuildConfig) client() (*projectionsClient, error) {
	base, err := url.Parse(c.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usagef("--url %q: want for instance http://localhost:3001", c.url)
	}
	token := c.token
	if token == "" {
		// Long enough for any rebuild.
		token, err = c.signer.sign(domain.Identity{UserID: "operator", Role: domain.RoleAdmin}, 24*time.Hour)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("no token: give --token (BMS_TOKEN, BMS_TOKEN_FILE) or --jwt-secret, or --data of a node that runs with --dev")
		}
		if err != nil {
			return nil, err
		}
	}
	return &projectionsClient{base: base, token: token, http: &http.Client{Timeout: 30 * time.Second}}, nil
}

// projectionsClient asks a node about its projections.
type projectionsClient struct {
	base  *url.URL
	token string
	http  *http.Client
}

// do makes a request and decodes the answer into one, if there is any to
// expect. A refusal is an error with the node's own words.
func (c *projectionsClient) do(ctx context.Context, method, path string, query url.Values, into any) error {
	at := c.base.JoinPath("api", "projections").JoinPath(path)
	at.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the node: %w", err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, at, err)
	}
	if answer.StatusCode >= 300 {
		var problem struct{ Code, Detail string }
		if json.Unmarshal(raw, &problem) != nil || problem.Code == "" {
			return fmt.Errorf("%s %s: %s", method, at, answer.Status)
		}
		return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s %s: decode the answer: %w", method, at, err)
	}
	return nil
}

func (c *projectionsClient) status(ctx context.Context) ([]projections.Status, error) {
	var page projections.Page[projections.Status]
	err := c.do(ctx, http.MethodGet, "", nil, &page)
	return page.Items, err
}

// cancel ends what is under way, of one or of all.
func (c *projectionsClient) cancel(ctx context.Context, name string, stdout io.Writer) error {
	names := []string{name}
	if name == "all" {
		rows, err := c.status(ctx)
		if err != nil {
			return err
		}
		names = names[:0]
		for _, row := range rows {
			if row.Rebuild != nil {
				names = append(names, row.Name)
			}
		}
	}
	for _, name := range names {
		if err := c.do(ctx, http.MethodDelete, name+"/rebuild", nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: cancelled\n", name)
	}
	return nil
}

// look is the time between two looks at a rebuild.
const look = 250 * time.Millisecond

// rebuild starts rebuilds and tells how they go until the last has ended. When
// the context ends they go on without being watched.
func (c *projectionsClient) rebuild(ctx context.Context, name string, verify bool, lines *rebuildLines) error {
	query := url.Values{}
	if verify {
		query.Set("verify", "true")
	}
	var started projections.Page[projections.Status]
	if err := c.do(ctx, http.MethodPost, name+"/rebuild", query, &started); err != nil {
		return err
	}
	watched := map[string]string{} // name to id
	for _, row := range started.Items {
		b := row.Rebuild
		if b == nil { // it has ended already
			b = row.LastRebuild
		}
		watched[row.Name] = b.ID
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	var failed []string
	for len(watched) > 0 {
		rows, err := c.status(ctx)
		if ctx.Err() != nil {
			lines.end()
			return errors.New("not watched any more; the node goes on with it, see GET /api/projections, and --cancel to end it")
		}
		if err != nil {
			lines.end()
			return err
		}
		for _, row := range rows {
			id, ours := watched[row.Name]
			switch last := row.LastRebuild; {
			case !ours:
			case last != nil && last.ID == id:
				delete(watched, row.Name)
				lines.ended(row.Name, last)
				if last.State != projections.RebuildDone {
					failed = append(failed, fmt.Sprintf("%s %s: %s", row.Name, last.State, last.Error))
				}
			case row.Rebuild != nil && row.Rebuild.ID == id && row.Rebuild.State != projections.RebuildWaiting:
				lines.progress(row.Name, row.Rebuild)
			case row.Rebuild == nil || row.Rebuild.ID != id: // the node was restarted meanwhile
				delete(watched, row.Name)
				lines.lost(row.Name)
				failed = append(failed, row.Name+" is under way no more, and nobody knows how it ended: was the node restarted?")
			}
		}
		if len(watched) > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "\n"))
	}
	return nil
}
