package telemetry

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"
)

var (
	metricName = regexp.MustCompile(`\b(?:bms|go|process)_[a-z0-9_]+`)
	selector   = regexp.MustCompile(`\b((?:bms|go|process)_[a-z0-9_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	described  = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)
)

// scraped are the labels that Prometheus itself adds.
var scraped = []string{"instance", "job", "le"}

// known maps every metric of a node to its labels.
func known(t *testing.T) map[string][]string {
	t.Helper()
	m := NewMetrics()
	m.Watch(Sources{
		Head: func() uint64 { return 0 }, LogBytes: func() int64 { return 0 }, FeedHead: func() uint64 { return 0 },
		DiskFree: func() (uint64, bool) { return 0, true }, Unready: func() []string { return nil }, Rooms: func() int { return 0 },
		Panics: func() uint64 { return 0 }, Waiting: func() int { return 0 }, Projections: func() []Lag { return nil },
	})
	all := make(chan *prometheus.Desc)
	go func() {
		m.registry.Describe(all)
		close(all)
	}()
	names := map[string][]string{}
	for d := range all {
		found := described.FindStringSubmatch(d.String())
		if found == nil {
			t.Fatalf("description %s", d)
		}
		names[found[1]] = strings.Split(found[2], ",")
	}
	return names
}

// checkExpression finds metrics and labels in an expression that a node doesn't
// have.
func checkExpression(t *testing.T, names map[string][]string, where, expression string) {
	t.Helper()
	labels := func(metric string) ([]string, bool) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			if l, ok := names[strings.TrimSuffix(metric, suffix)]; ok {
				return append(slices.Clone(l), scraped...), true
			}
		}
		return nil, false
	}
	var all []string
	for _, metric := range metricName.FindAllString(expression, -1) {
		l, ok := labels(metric)
		if !ok {
			t.Errorf("%s: there is no metric %s", where, metric)
		}
		all = append(all, l...)
	}
	for _, s := range selector.FindAllStringSubmatch(expression, -1) {
		l, _ := labels(s[1])
		for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
			if !slices.Contains(l, m[1]) {
				t.Errorf("%s: %s has no label %s", where, s[1], m[1])
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(g[1], ",") {
			if !slices.Contains(all, strings.TrimSpace(label)) {
				t.Errorf("%s: grouped by %s, which no metric in it has", where, label)
			}
		}
	}
	if strings.Count(expression, "(") != strings.Count(expression, ")") {
		t.Errorf("%s: unbalanced: %s", where, expression)
	}
}

func Test_alert_rules_are_on_metrics_that_there_are(t *testing.T) {
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For string
				Labels           struct{ Severity string }
				Annotations      struct{ Summary, Description string }
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(AlertRules))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	names, seen := known(t), map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			checkExpression(t, names, r.Alert, r.Expr)
			if seen[r.Alert] || r.Expr == "" || r.Annotations.Summary == "" || r.Annotations.Description == "" {
				t.Errorf("rule %q is there twice, or lacks an expression, a summary or a description", r.Alert)
			}
			if r.Labels.Severity != "page" && r.Labels.Severity != "ticket" {
				t.Errorf("%s: severity %q, want page or ticket", r.Alert, r.Labels.Severity)
			}
			seen[r.Alert] = true
		}
	}
	if len(seen) == 0 {
		t.Error("no rules")
	}
}

func Test_dashboard_shows_metrics_that_there_are(t *testing.T) {
	var board struct {
		Title  string
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct{ Expr, RefID string }
		}
		Templating struct {
			List []struct{ Name string }
		}
	}
	if err := json.Unmarshal([]byte(Dashboard), &board); err != nil {
		t.Fatal(err)
	}
	names, ids := known(t), map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel id %d is there twice", p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %q is wider than the board", p.Title)
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			checkExpression(t, names, p.Title, target.Expr)
		}
	}
	if len(ids) == 0 || len(board.Templating.List) != 2 {
		t.Errorf("%d panels and %d variables", len(ids), len(board.Templating.List))
	}
}
