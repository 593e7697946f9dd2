package projections

import (
	"context"
	"encoding/json"
	"fmt"

	"bms/domain"
)

// User is what the log says of a user.
type User struct {
	UserID   string   `json:"userId"`
	Role     string   `json:"role"`
	Branches []string `json:"branches"`
	Disabled bool     `json:"disabled"`
	Name     string   `json:"name"`
}

// UsersQuery selects users, by id in ascending order.
type UsersQuery struct {
	Cursor string
	// Limit is DefaultLimit if zero and at most MaxLimit.
	Limit int
}

const userColumns = "user, role, branches, disabled, name"

func readUser(r row) (User, error) {
	u := User{UserID: r.text(0), Role: r.text(1), Disabled: r.bool(3), Name: r.text(4)}
	if err := json.Unmarshal([]byte(r.text(2)), &u.Branches); err != nil {
		return u, fmt.Errorf("decode the branches of user %s: %w", u.UserID, err)
	}
	return u, nil
}

// Users lists users that the log knows. Errors: ErrBadCursor, ErrUnavailable.
func (s *Set) Users(ctx context.Context, q UsersQuery) (Page[User], error) {
	return list(ctx, s, Users, "users", q.Cursor, q.Limit,
		func(u User) string { return u.UserID },
		func(v *snapshot, after string, limit int64, add func(User)) error {
			return v.query(ctx, func(r row) error {
				u, err := readUser(r)
				add(u)
				return err
			}, "SELECT "+userColumns+" FROM users WHERE user > ? ORDER BY user LIMIT ?", after, limit)
		})
}

// User gives one user and the position of the answer, or ErrNotFound.
func (s *Set) User(ctx context.Context, userID string) (User, domain.Position, error) {
	var u User
	pos, err := s.view(ctx, Users, func(v *snapshot) error {
		found, err := v.one(ctx, func(r row) (err error) {
			u, err = readUser(r)
			return err
		}, "SELECT "+userColumns+" FROM users WHERE user = ?", userID)
		if err == nil && !found {
			err = ErrNotFound
		}
		return err
	})
	return u, pos, err
}

// Identity overlays what the log says of a user on an identity from a token:
// the log beats the token. It reads memory only, and shows at least what
// WaitFor(Users) has waited for. Before the projection is live it may not know
// of a user's latest rights; who serves users waits for the log's head first.
func (s *Set) Identity(id domain.Identity) domain.Identity {
	return s.users.identity(id)
}
