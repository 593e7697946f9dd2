package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/peterbourgon/ff/v3"
)

const envPrefix = "BMS_"

// usageError is a mistake in what the user gave: a flag, a variable, a key.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// flagSet is a command's flags, each of which may also come from the
// environment or from the configuration file.
type flagSet struct {
	*flag.FlagSet
	secrets []string // flags that also have a …_FILE variable
	lists   []string // flags that may be given several times
	// operands are what has to stand beside the flags, by name, in order;
	// given is what did.
	operands, given []string
}

func newFlagSet(command string) *flagSet {
	fs := flag.NewFlagSet("bms "+command, flag.ContinueOnError)
	fs.SetOutput(io.Discard) // run prints the error
	f := &flagSet{FlagSet: fs}
	f.String("config", "", "YAML `file` with any of the flags, by name")
	return f
}

// secret defines a flag whose value may come from a file instead.
func (f *flagSet) secret(p *string, name, usage string) {
	f.StringVar(p, name, "", usage)
	f.secrets = append(f.secrets, name)
}

// parse reads flags, then environment, then configuration file, each filling
// in what is not yet set. Keys and variables that no command knows are errors
// that name them; those of other commands are passed by.
func (f *flagSet) parse(args []string) error {
	if err := f.parseArgs(args); err != nil {
		return err
	}
	known := knownFlags()
	if err := checkEnvironment(os.Environ(), known); err != nil {
		return err
	}
	if err := f.readSecretFiles(); err != nil {
		return err
	}
	err := ff.Parse(f.FlagSet, nil,
		ff.WithEnvVarPrefix(strings.TrimSuffix(envPrefix, "_")),
		ff.WithConfigFileFlag("config"),
		ff.WithConfigFileParser(f.configParser(known)))
	if err != nil {
		return usagef("%v", err)
	}
	return nil
}

// parseArgs reads flags and operands in whatever order they come.
func (f *flagSet) parseArgs(args []string) error {
	f.given = nil
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return err
			}
			return usagef("%s", strings.ReplaceAll(err.Error(), " -", " --"))
		}
		if f.NArg() == 0 {
			break
		}
		if len(f.given) == len(f.operands) {
			return usagef("unexpected argument %q", f.Arg(0))
		}
		f.given, args = append(f.given, f.Arg(0)), f.Args()[1:]
	}
	if len(f.given) < len(f.operands) {
		return usagef("%s is missing", f.operands[len(f.given)])
	}
	return nil
}

// operand is the i-th of the operands, once parsed.
func (f *flagSet) operand(i int) string { return f.given[i] }

// readSecretFiles sets the secrets that BMS_…_FILE variables point to.
func (f *flagSet) readSecretFiles() error {
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	for _, name := range f.secrets {
		variable := envName(name) + "_FILE"
		path := os.Getenv(variable)
		if path == "" {
			continue
		}
		if os.Getenv(envName(name)) != "" {
			return usagef("%s and %s are both set: leave one out", envName(name), variable)
		}
		if given[name] {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return usagef("%s: %v", variable, err)
		}
		content = bytes.TrimRight(content, "\r\n")
		if len(content) == 0 {
			return usagef("%s: %s is empty", variable, path)
		}
		if err := f.Set(name, string(content)); err != nil {
			return usagef("%s: the content of %s is not valid", variable, path)
		}
	}
	return nil
}

// serviceLink matches the variables, with their values where those tell, that
// Kubernetes sets in every pod for a service whose name begins with "bms", and
// that nobody meant for us.
var serviceLink = regexp.MustCompile(`^BMS_([A-Z0-9_]+_)?(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|PORT=(tcp|udp|sctp)://|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)`)

// checkEnvironment returns an error that names the first BMS_ variable which
// is the twin of no flag.
func checkEnvironment(environ []string, known map[string]bool) error {
	twins := map[string]bool{}
	for name := range known {
		twins[envName(name)] = true
	}
	for _, c := range commands() {
		fs, _ := c.make()
		for _, name := range fs.secrets {
			twins[envName(name)+"_FILE"] = true
		}
	}
	slices.Sort(environ)
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envPrefix) && !twins[name] && !serviceLink.MatchString(kv) {
			return usagef("unknown environment variable %s: no flag has this twin", name)
		}
	}
	return nil
}

// knownFlags are the names of all commands' flags.
func knownFlags() map[string]bool {
	known := map[string]bool{}
	for _, c := range commands() {
		fs, _ := c.make()
		fs.VisitAll(func(fl *flag.Flag) { known[fl.Name] = true })
	}
	return known
}

func envName(flagName string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

func (f *flagSet) printUsage(w io.Writer, synopsis string) {
	fmt.Fprintf(w, "%s: %s\n\n", strings.Join(append([]string{f.Name()}, f.operands...), " "), synopsis)
	f.VisitAll(func(fl *flag.Flag) {
		arg, usage := flag.UnquoteUsage(fl)
		if arg != "" {
			arg = " " + arg
		}
		if fl.DefValue != "" && fl.DefValue != "false" {
			usage += " (default " + fl.DefValue + ")"
		}
		fmt.Fprintf(w, "  --%s%s\n        %s\n", fl.Name, arg, usage)
	})
}
