package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"bms/domain"
)

// usersDefinition keeps what the log says of each user, in the file and, for
// Identity, in memory.
func usersDefinition(d *directory) definition {
	return definition{
		name: Users, version: 1,
		schema: `
CREATE TABLE users (
	user TEXT PRIMARY KEY, role TEXT NOT NULL, branches TEXT NOT NULL, disabled INTEGER NOT NULL, name TEXT NOT NULL,
	pos INTEGER NOT NULL
) WITHOUT ROWID;
`,
		types: []string{domain.TypeUserUpdated},
		start: func(f *file) (fold, error) { return &users{file: f, directory: d}, nil },
		serve: d.serve,
	}
}

type users struct {
	basic
	file      *file
	directory *directory
	staged    []knownUser // folded, not committed
}

func (u *users) apply(_ *domain.Commit, e *domain.Event, payload domain.Payload) error {
	p, ok := payload.(domain.UserUpdated)
	if !ok {
		return nil
	}
	branches, err := json.Marshal(p.Branches)
	if err != nil {
		return fmt.Errorf("encode the branches of user %s: %w", p.UserID, err)
	}
	u.staged = append(u.staged, knownUser{key(e.Pos), domain.User{
		ID: p.UserID, Known: true, Role: p.Role, Branches: p.Branches, Disabled: p.Disabled, Name: p.Name,
	}})
	return u.file.writer.exec("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?, ?, ?)", p.UserID, p.Role, string(branches), flag(p.Disabled), p.Name, key(e.Pos))
}

func (u *users) flush() error { return nil }

func (u *users) forget() error {
	u.staged = nil
	return nil
}

func (u *users) published() {
	u.directory.put(u.file, u.staged)
	u.staged = u.staged[:0]
}

// directory is what the log says of users, in memory: one entry for each that
// the API has set.
type directory struct {
	mu    sync.RWMutex // guards users and from
	users map[string]*knownUser
	from  *file // the file that serves
}

type knownUser struct {
	pos int64 // key of the position from which it holds
	domain.User
}

func newDirectory() *directory { return &directory{users: map[string]*knownUser{}} }

// serve fills the directory from the file that serves from now on. What is known
// of later than the file is stays: a file that is folded again must not give
// anybody the rights of long ago.
func (d *directory) serve(f *file) error {
	users := map[string]*knownUser{}
	if err := f.writer.query(context.Background(), func(r row) error {
		u := domain.User{ID: r.text(0), Known: true, Role: r.text(1), Disabled: r.bool(3), Name: r.text(4)}
		if err := json.Unmarshal([]byte(r.text(2)), &u.Branches); err != nil {
			return fmt.Errorf("decode the branches of user %s: %w", u.ID, err)
		}
		users[u.ID] = &knownUser{r.int(5), u}
		return nil
	}, "SELECT user, role, branches, disabled, name, pos FROM users"); err != nil {
		return err
	}
	at, err := position(context.Background(), f.writer)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, known := range d.users {
		if u := users[id]; known.pos > key(at) && (u == nil || known.pos > u.pos) {
			users[id] = known
		}
	}
	d.users, d.from = users, f
	return nil
}

// put takes over what was folded into the file that serves, and is newer than
// what is known.
func (d *directory) put(f *file, users []knownUser) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f != d.from {
		return
	}
	for _, u := range users {
		if known := d.users[u.ID]; known == nil || u.pos > known.pos {
			d.users[u.ID] = &u
		}
	}
}

func (d *directory) identity(id domain.Identity) domain.Identity {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if u := d.users[id.UserID]; u != nil {
		return u.Overlay(id)
	}
	return id
}

// Identity overlays what the log says of a user on an identity from a token:
// the log beats the token. It reads memory only, and shows at least what
// WaitFor(Users) has waited for. Before the projection is live it may not know
// of a user's latest rights; who serves users waits for the log's head first.
func (s *Set) Identity(id domain.Identity) domain.Identity {
	return s.users.identity(id)
}
