package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value is a flag of any type: parse reads its text, and its error says what
// would have been right.
type value[T any] struct {
	p     *T
	parse func(string) (T, error)
	text  string
}

func (v *value[T]) String() string { return v.text }

func (v *value[T]) Set(s string) error {
	parsed, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.p, v.text = parsed, s
	return nil
}

// define adds a flag with a default, which parse has to accept.
func define[T any](f *flagSet, p *T, name, byDefault string, parse func(string) (T, error), usage string) {
	v := &value[T]{p: p, parse: parse}
	if err := v.Set(byDefault); err != nil {
		panic(fmt.Sprintf("default of --%s: %v", name, err))
	}
	f.Var(v, name, usage)
}

// list is a flag of several values: a comma list, the flag given several
// times, a YAML list.
type list[T any] struct {
	p     *[]T
	parse func(string) (T, error)
	texts []string
}

func (l *list[T]) String() string { return strings.Join(l.texts, ",") }

func (l *list[T]) Set(s string) error {
	for _, text := range strings.Split(s, ",") {
		text = strings.TrimSpace(text)
		parsed, err := l.parse(text)
		if err != nil {
			return fmt.Errorf("%q: %w", text, err)
		}
		*l.p, l.texts = append(*l.p, parsed), append(l.texts, text)
	}
	return nil
}

func defineList[T any](f *flagSet, p *[]T, name string, parse func(string) (T, error), usage string) {
	f.Var(&list[T]{p: p, parse: parse}, name, usage)
	f.lists = append(f.lists, name)
}

// parseDuration reads a time above zero: "25s", "1m30s".
func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("want a time above zero with its unit, for instance 25s or 5m")
	}
	return d, nil
}

// parseSize reads a number of bytes: "1000000", "1MB" (the same), "1MiB"
// (1,048,576).
func parseSize(s string) (int64, error) {
	number, unit := s, ""
	if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		number, unit = s[:i], strings.TrimSpace(s[i:])
	}
	units := map[string]int64{"": 1, "B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
	factor, ok := units[strings.ToUpper(unit)]
	n, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || n < 1 || n > (1<<62)/factor {
		return 0, fmt.Errorf("want a number of bytes above zero, for instance 1MB or 512KiB")
	}
	return n * factor, nil
}

// orOff reads "off", too, as zero.
func orOff[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (off T, err error) {
		if s == "off" {
			return off, nil
		}
		return parse(s)
	}
}

// parseLevel reads what is to be logged.
func parseLevel(s string) (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(s)); err != nil || strings.ContainsAny(s, "+-") {
		return 0, fmt.Errorf("want debug, info, warn or error")
	}
	return level, nil
}

// oneOf reads one of the given words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("want one of %s", strings.Join(words, " "))
		}
		return s, nil
	}
}

// parseOrigin reads an origin exactly as browsers send it: scheme, host and a
// port that is not the scheme's own.
func parseOrigin(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || s != u.Scheme+"://"+u.Host ||
		s != strings.ToLower(s) || strings.Contains(s, "*") || u.User != nil {
		return "", fmt.Errorf("want an exact origin in lower case without a path, for instance https://shop.example")
	}
	if (u.Scheme == "http" && u.Port() == "80") || (u.Scheme == "https" && u.Port() == "443") {
		return "", fmt.Errorf("browsers leave the default port out: do so too")
	}
	return s, nil
}

// parseProxy reads an address or a network in CIDR form.
func parseProxy(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("want an address or a network, for instance 10.0.0.7 or 10.0.0.0/24")
	}
	if p.Bits() == 0 {
		return netip.Prefix{}, fmt.Errorf("this trusts everybody's X-Forwarded-For")
	}
	return p.Masked(), nil
}
