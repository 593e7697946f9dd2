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
		start: func(f *file) (fold, error) {
			u := &users{file: f, directory: d}
			return u, u.load()
		},
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
	u.directory.put(u.staged)
	u.staged = u.staged[:0]
}

// load fills the directory from the file.
func (u *users) load() error {
	var all []knownUser
	if err := u.file.writer.query(context.Background(), func(r row) error {
		user, err := readUser(r)
		all = append(all, knownUser{r.int(5), domain.User{
			ID: user.UserID, Known: true, Role: user.Role, Branches: user.Branches, Disabled: user.Disabled, Name: user.Name,
		}})
		return err
	}, "SELECT "+userColumns+", pos FROM users"); err != nil {
		return err
	}
	u.directory.put(all)
	return nil
}

// directory is what the log says of users, in memory: one entry for each that
// the API has set.
type directory struct {
	mu    sync.RWMutex // guards users
	users map[string]*knownUser
}

type knownUser struct {
	pos int64 // key of the position from which it holds
	domain.User
}

func newDirectory() *directory { return &directory{users: map[string]*knownUser{}} }

// put takes over what is newer than what it has: a file that is folded again
// must not give anybody the rights of long ago.
func (d *directory) put(users []knownUser) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
