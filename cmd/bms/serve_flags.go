package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"time"

	"bms/transport/auth"
)

// serveConfig is what `bms serve` was told.
type serveConfig struct {
	addr, dataDir string
	jwtSecret     string
	jwksURL       string
	jwtIssuer     string
	jwtAudience   string
	corsOrigins   []string
	proxies       []netip.Prefix
	connectRate   auth.Rate
	userClients   int
	durability    string
	pingInterval  time.Duration
	pingTimeout   time.Duration
	maxPayload    int64
	compressFrom  int64
	roomIdle      time.Duration
	alertsRepeat  string
	logFormat     string
	logLevel      slog.Level
	slowCommand   time.Duration
	dev, demo     bool
}

func serveCommand() (*flagSet, runFunc) {
	f, c := serveFlags()
	return f, func(ctx context.Context, stdout, stderr io.Writer) error { return serve(ctx, c, stdout, stderr) }
}

// serveFlags makes the flags of `bms serve` and the config that they fill.
func serveFlags() (*flagSet, *serveConfig) {
	f, c := newFlagSet("serve"), &serveConfig{}
	f.StringVar(&c.addr, "addr", ":3001", "listen `address`")
	f.StringVar(&c.dataDir, "data", "./data", "`folder` of log, projections and keys")
	f.secret(&c.jwtSecret, "jwt-secret", "HS256 `key` of the tokens, at least 32 bytes")
	f.StringVar(&c.jwksURL, "jwks-url", "", "`URL` of the RS256, ES256 or EdDSA keys of the tokens")
	f.StringVar(&c.jwtIssuer, "jwt-issuer", "", "`iss` that tokens must have; empty: any")
	f.StringVar(&c.jwtAudience, "jwt-audience", "", "`aud` that tokens must have; empty: any")
	defineList(f, &c.corsOrigins, "cors-origins", parseOrigin, "exact `origins`, comma list, of pages that may call; also guards WebSocket upgrades")
	defineList(f, &c.proxies, "trusted-proxies", parseProxy, "`addresses` or networks that may set X-Forwarded-For, comma list")
	define(f, &c.connectRate, "connect-rate", "5/1m", auth.ParseRate, "new connections per user, `count/time`")
	define(f, &c.userClients, "user-connections", "20", parseUserClients, "`number` of connections that one user may have at a time on this node")
	define(f, &c.durability, "durability", "fsync", oneOf("fsync", "relaxed"), "`when` a command is answered: fsync, it is on disk; relaxed, it will be within 1 s")
	define(f, &c.pingInterval, "ping-interval", "25s", parseDuration, "Engine.IO heartbeat: `time` between pings")
	define(f, &c.pingTimeout, "ping-timeout", "20s", parseDuration, "Engine.IO heartbeat: `time` to wait for the answer")
	define(f, &c.maxPayload, "max-payload", "1MB", parseSize, "`size` of one inbound message or polling body")
	define(f, &c.compressFrom, "compress-from", "off", orOff(parseSize), "`size` from which messages over WebSockets are compressed (permessage-deflate)")
	define(f, &c.roomIdle, "room-idle", "5m", parseDuration, "`time` after which an empty room is cleaned up")
	define(f, &c.alertsRepeat, "alerts-repeat", "every", oneOf("every", "escalation"), "`which` low-stock changes alert: every, each that leaves too little; escalation, only crossing and worsening")
	define(f, &c.logLevel, "log-level", "info", parseLevel, "`least` that is logged: debug, info, warn or error; SIGUSR1 changes to debug and back")
	define(f, &c.logFormat, "log-format", "auto", oneOf("auto", "json", "text"), "`form` of the log: json, text, or auto: text with --dev, else json")
	define(f, &c.slowCommand, "slow-command", "1s", orOff(parseDuration), "`time` from which a command is logged as slow, or off")
	f.BoolVar(&c.dev, "dev", false, "for a machine of your own: make a signing key in the data folder, allow localhost origins")
	f.BoolVar(&c.demo, "demo", false, "open two shops and let simulated tills sell; needs --dev")
	return f, c
}

// check refuses what would be unsafe or could not work, naming the flag.
func (c *serveConfig) check() error {
	switch {
	case c.jwtSecret == "" && c.jwksURL == "" && !c.dev:
		return usagef("no signing key: give --jwt-secret (BMS_JWT_SECRET, BMS_JWT_SECRET_FILE) or --jwks-url, or --dev on a machine of your own")
	case c.jwtSecret != "" && len(c.jwtSecret) < auth.MinSecretBytes:
		return usagef("--jwt-secret has %d bytes: it needs at least %d", len(c.jwtSecret), auth.MinSecretBytes)
	case c.dev && c.jwksURL != "":
		return usagef("--dev makes a signing key of its own, which must not stand beside those of --jwks-url: leave one out")
	case c.demo && !c.dev:
		return usagef("--demo writes simulated sales into the log: it needs --dev")
	case c.dataDir == "":
		return usagef("--data is empty: name the data folder")
	}
	if c.jwksURL != "" {
		u, err := url.Parse(c.jwksURL)
		if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
			return usagef("--jwks-url %q: want an https URL", c.jwksURL)
		}
		if u.Scheme == "http" && !isLoopback(u.Hostname()) {
			return usagef("--jwks-url %q: keys that come over http can be replaced on the way, want https", c.jwksURL)
		}
	}
	if _, _, err := net.SplitHostPort(c.addr); err != nil {
		return usagef("--addr %q: want host:port or :port", c.addr)
	}
	return nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}
