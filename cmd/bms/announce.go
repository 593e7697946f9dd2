package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"bms/domain"
	"bms/transport/auth"
)

// devTokens are the tokens that --dev prints, so that a first client needs
// nothing else. They are good for a day.
var devTokens = []struct {
	user, role string
	branches   []string
}{
	{"dev-admin", domain.RoleAdmin, nil},
	{"dev-manager", domain.RoleManager, []string{"b1", "b2"}},
	{"dev-staff", domain.RoleStaff, []string{"b1"}},
}

const devTokenTTL = 24 * time.Hour

// announce says on stdout where the node serves, with --dev also a token per
// role.
func (a *App) announce(stdout io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "bms %s serving on %s (data %s, durability %s)\n", version(), a.url(), a.cfg.dataDir, a.cfg.durability)
	if a.cfg.dev {
		fmt.Fprintf(&b, "\nAPI documentation %s/docs, sockets at %s/ws with one of these tokens:\n\n", a.url(), a.url())
		now := a.now()
		for _, t := range devTokens {
			token, err := auth.Sign(a.signingKey, auth.Grant{
				Identity: domain.Identity{UserID: t.user, Role: t.role, Branches: t.branches},
				IssuedAt: now, ExpiresAt: now.Add(devTokenTTL), Issuer: a.cfg.jwtIssuer, Audience: a.cfg.jwtAudience,
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, "%-8s %s\n", t.role, token)
		}
		b.WriteString("\n")
		if host, _, _ := net.SplitHostPort(a.cfg.addr); !isLoopback(host) {
			a.logger.Warn("--dev listens beyond this machine; --addr localhost:3001 keeps it here", "addr", a.listener.Addr().String())
		}
	}
	_, err := io.WriteString(stdout, b.String())
	return err
}

// url is where the node is reached from its own machine.
func (a *App) url() string {
	addr := a.listener.Addr().(*net.TCPAddr)
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// version is the module's, as the build has it.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// allowOrigin reports whether a page of this origin may call: one of
// --cors-origins, with --dev also any of this machine.
func (a *App) allowOrigin(origin string) bool {
	if slices.Contains(a.cfg.corsOrigins, origin) {
		return true
	}
	if !a.cfg.dev {
		return false
	}
	u, err := url.Parse(origin)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && isLoopback(u.Hostname()) && origin == u.Scheme+"://"+u.Host
}
