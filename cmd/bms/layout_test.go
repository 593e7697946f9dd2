package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// house says which of our packages a package may import. What is not in it
// may not exist, what is not listed may not be imported: a new package is
// drawn in ARCHITECTURE.md and entered here.
var house = map[string][]string{
	"domain":                          {},
	"domain/audit":                    {"domain"},
	"actors":                          {"domain"},
	"projections":                     {"domain", "projections/pagesum"},
	"projections/pagesum":             {},
	"transport/auth":                  {"domain"},
	"transport/commandbus":            {"domain", "actors"},
	"transport/eventlog":              {"domain", "projections/pagesum"},
	"transport/eventlog/eventlogtest": {"domain"},
	"transport/httpapi":               {"domain", "actors", "projections"},
	"transport/leaktest":              {},
	"transport/plainws":               {"transport/wsframe"}, // knows nothing of BMS
	"transport/sessions":              {"domain", "actors"},
	"transport/socketio":              {"transport/wsframe"},                       // knows nothing of BMS
	"transport/socketio/suiteserver":  {"transport/socketio", "transport/wsframe"}, // for the public protocol suites
	"transport/telemetry":             {"domain", "actors", "projections"},
	"transport/telemetry/otlptest":    {},
	"transport/wsframe":               {}, // the half-floor under the socket transports
	"transport/wsframe/wsframetest":   {},
	"cmd/bms": {
		"cmd/bms/bench", "domain", "domain/audit", "actors", "projections", "transport/auth", "transport/commandbus", "transport/eventlog",
		"transport/httpapi", "transport/plainws", "transport/sessions", "transport/socketio", "transport/telemetry", "transport/wsframe",
	},
	"cmd/bms/bench": {"domain", "transport/auth"}, // from outside, but for the words and the tokens
	"cmd/bms/chaos": {"cmd/bms/bench"},
	"cmd/bms/e2e":   {},
}

// testsMayAlsoImport is what only the tests of a package import.
var testsMayAlsoImport = map[string][]string{
	"transport/eventlog":              {"transport/eventlog/eventlogtest", "transport/leaktest"},
	"transport/eventlog/eventlogtest": {"transport/leaktest"},
	"transport/plainws":               {"transport/wsframe/wsframetest", "transport/leaktest"},
	"transport/socketio":              {"transport/wsframe/wsframetest", "transport/leaktest"},
	"transport/telemetry":             {"transport/telemetry/otlptest"},
	"transport/wsframe":               {"transport/leaktest"},
	"cmd/bms":                         {"transport/telemetry/otlptest", "transport/eventlog/eventlogtest", "transport/leaktest"},
	// Its log in memory: the floors below can't import the real one.
	"actors":            {"transport/eventlog/eventlogtest"},
	"projections":       {"transport/eventlog/eventlogtest", "transport/leaktest"},
	"transport/httpapi": {"transport/eventlog/eventlogtest", "transport/leaktest"},
}

// fenced libraries have one file, and its test, that know them.
var fenced = map[string]string{
	"github.com/anthdm/hollywood/": "actors/system.go",
}

// unobserved packages tell what they do by hooks and know nothing of who
// listens.
var (
	unobserved = []string{"domain", "domain/audit", "actors", "projections", "projections/pagesum", "transport/eventlog"}
	observers  = []string{"go.opentelemetry.io/", "github.com/prometheus/"}
)

// impure is what domain must not import although the standard library has it.
var impure = []string{"os", "io/fs", "net", "net/http", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand", "sync", "syscall", "unsafe"}

const (
	root         = "../.."
	maxLines     = 600
	architecture = "ARCHITECTURE.md"
)

// sourceFile is a Go file of the repository.
type sourceFile struct {
	path    string // from the root, with slashes
	pkg     string // its folder
	test    bool
	syntax  *ast.File
	imports []string
}

func sources(t *testing.T) []sourceFile {
	t.Helper()
	var files []sourceFile
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(name, root+string(filepath.Separator)))
		if d.IsDir() {
			if d.Name() == "node_modules" || name != root && strings.HasPrefix(d.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(rel) != ".go" {
			return nil
		}
		syntax, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		f := sourceFile{path: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), syntax: syntax}
		for _, spec := range syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files found: the test looks in the wrong place")
	}
	return files
}

func TestLayout_imports_point_down_and_are_allowed(t *testing.T) {
	for _, f := range sources(t) {
		for _, problem := range importProblems(f.path, f.pkg, f.test, f.imports) {
			t.Errorf("%s: %s", f.path, problem)
		}
	}
}

// importProblems judges the imports of one file.
func importProblems(file, pkg string, test bool, imports []string) []string {
	allowed, ok := house[pkg]
	if !ok {
		return []string{fmt.Sprintf("package %s is not in the house: draw it in %s and say in layout_test.go what it may import", pkg, architecture)}
	}
	if test {
		allowed = append(slices.Clone(allowed), testsMayAlsoImport[pkg]...)
	}
	var problems []string
	for _, imported := range imports {
		for library, home := range fenced {
			if strings.HasPrefix(imported, library) && strings.Replace(file, "_test.go", ".go", 1) != home {
				problems = append(problems, fmt.Sprintf("imports %s, which only %s knows", imported, home))
			}
		}
		if slices.Contains(unobserved, pkg) && slices.ContainsFunc(observers, func(o string) bool { return strings.HasPrefix(imported, o) }) {
			problems = append(problems, "imports "+imported+", and "+pkg+" tells by hooks what it does")
		}
		ours, isOurs := strings.CutPrefix(imported, "bms/")
		switch {
		case isOurs && ours != pkg && !slices.Contains(allowed, ours):
			problems = append(problems, fmt.Sprintf("imports %s, and %s may import only %v", imported, pkg, allowed))
		case strings.HasPrefix(pkg, "domain") && !test && strings.Contains(strings.Split(imported, "/")[0], "."):
			problems = append(problems, "imports "+imported+", and domain imports the standard library only")
		case strings.HasPrefix(pkg, "domain") && !test && slices.Contains(impure, imported):
			problems = append(problems, "imports "+imported+", and domain is pure")
		}
	}
	return problems
}

func TestLayout_refuses_what_is_not_drawn(t *testing.T) {
	for name, c := range map[string]struct {
		file    string
		imports []string
		refused bool
	}{
		"domain_on_the_standard_library": {"domain/x.go", []string{"encoding/json", "time"}, false},
		"domain_on_a_library":            {"domain/x.go", []string{"github.com/google/uuid"}, true},
		"domain_on_the_network":          {"domain/x.go", []string{"net/http"}, true},
		"domain_on_actors":               {"domain/x.go", []string{"bms/actors"}, true},
		"sideways":                       {"actors/x.go", []string{"bms/projections"}, true},
		"up":                             {"actors/x.go", []string{"bms/transport/eventlog"}, true},
		"between_transports":             {"transport/httpapi/x.go", []string{"bms/transport/socketio"}, true},
		"socketio_on_domain":             {"transport/socketio/x.go", []string{"bms/domain"}, true},
		"down":                           {"transport/httpapi/x.go", []string{"bms/domain"}, false},
		"hollywood_in_its_place":         {"actors/system.go", []string{"github.com/anthdm/hollywood/actor"}, false},
		"hollywood_elsewhere":            {"actors/room.go", []string{"github.com/anthdm/hollywood/actor"}, true},
		"traces_in_the_log":              {"transport/eventlog/x.go", []string{"go.opentelemetry.io/otel/trace"}, true},
		"metrics_in_actors":              {"actors/x.go", []string{"github.com/prometheus/client_golang/prometheus"}, true},
		"traces_in_their_place":          {"transport/telemetry/x.go", []string{"go.opentelemetry.io/otel/trace"}, false},
		"a_package_that_is_not_drawn":    {"transport/util/x.go", nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			problems := importProblems(c.file, path.Dir(c.file), false, c.imports)
			if got := len(problems) > 0; got != c.refused {
				t.Errorf("refused %v (%q), want %v", got, problems, c.refused)
			}
		})
	}
}

func TestLayout_domain_starts_no_goroutine(t *testing.T) {
	for _, f := range sources(t) {
		if !strings.HasPrefix(f.pkg, "domain") || f.test {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s has a go statement", f.path)
			}
			return true
		})
	}
}

// What runs before TestMain runs in every process and in every test.
func TestLayout_no_test_has_an_init(t *testing.T) {
	for _, f := range sources(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init", f.path)
			}
		}
	}
}

func TestLayout_top_level_holds_nothing_else(t *testing.T) {
	want := []string{"actors", "cmd", "domain", "projections", "transport", "go.mod", "go.sum", "Makefile", architecture, "README.md", "LICENSE"}
	made := []string{"data", "bin"} // by make run, and ignored by git
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(want, name) && !slices.Contains(made, name) {
			t.Errorf("%s is not of the top level, which is %v", name, want)
		}
	}
}

func TestLayout_no_file_is_longer_than_600_lines(t *testing.T) {
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || name != root && strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if ext := filepath.Ext(name); d.IsDir() || ext != ".go" && ext != ".mjs" && ext != ".js" && ext != ".md" {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if lines := bytes.Count(content, []byte("\n")); lines > maxLines {
			t.Errorf("%s has %d lines, at most %d are read with pleasure", name, lines, maxLines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// pathsNamedIn returns the paths of the repository that a text names: words
// such as actors/system.go or domain/.
func pathsNamedIn(text string) []string {
	var paths []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-", r)
	}) {
		top, _, isPath := strings.Cut(word, "/")
		if isPath && slices.Contains([]string{"actors", "cmd", "domain", "projections", "transport"}, top) {
			paths = append(paths, strings.TrimRight(word, "/."))
		}
	}
	return paths
}

// namedTest finds the tests and benchmarks that ARCHITECTURE.md names.
var namedTest = regexp.MustCompile(`\b(?:Test|Benchmark|Fuzz)[A-Za-z0-9_]+`)

func TestLayout_architecture_names_what_is_there_and_draws_every_package(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(root, architecture))
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	if lines := strings.Count(text, "\n"); lines >= 200 {
		t.Errorf("%s has %d lines, want fewer than 200", architecture, lines)
	}
	named := map[string]bool{}
	for _, name := range pathsNamedIn(text) {
		named[name] = true
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(name))); err != nil {
			t.Errorf("%s names %s, which is not there", architecture, name)
		}
	}
	functions := map[string]bool{}
	packages := map[string]bool{}
	for _, f := range sources(t) {
		packages[f.pkg] = true
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test && fn.Recv == nil {
				functions[fn.Name.Name] = true
			}
		}
	}
	for pkg := range packages {
		if !named[pkg] {
			t.Errorf("%s does not draw %s", architecture, pkg)
		}
	}
	for _, name := range namedTest.FindAllString(text, -1) {
		if !functions[name] {
			t.Errorf("%s names %s, which is no test", architecture, name)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(house)) {
		if !packages[pkg] {
			t.Errorf("layout_test.go has %s, which is not there", pkg)
		}
	}
}
