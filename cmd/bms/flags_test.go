package main

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bms/transport/auth"
)

const testSecret = "a test secret of at least 32 bytes"

// clearEnvironment takes away what the machine has set.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, value, _ := strings.Cut(kv, "="); strings.HasPrefix(name, envPrefix) {
			t.Setenv(name, value) // restored after the test
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlags_defaults_are_the_documented_ones(t *testing.T) {
	clearEnvironment(t)
	fs, got := serveFlags()
	if err := fs.parse(nil); err != nil {
		t.Fatal(err)
	}
	want := &serveConfig{
		addr: ":3001", dataDir: "./data", connectRate: auth.Rate{Count: 5, Per: time.Minute}, userClients: 20, durability: "fsync",
		pingInterval: 25 * time.Second, pingTimeout: 20 * time.Second, maxPayload: 1_000_000,
		roomIdle: 5 * time.Minute, alertsRepeat: "every", logFormat: "auto", slowCommand: time.Second,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("defaults %+v, want %+v", got, want)
	}
}

func TestFlags_flag_beats_environment_beats_file(t *testing.T) {
	clearEnvironment(t)
	config := writeFile(t, "addr: :1\ndata: from-file\nping-interval: 1s\ndev: true\nttl: 5m\n")
	t.Setenv("BMS_CONFIG", config)
	t.Setenv("BMS_ADDR", ":2")
	t.Setenv("BMS_DATA", "from-environment")
	fs, got := serveFlags()
	if err := fs.parse([]string{"--addr", ":3"}); err != nil {
		t.Fatal(err)
	}
	if got.addr != ":3" || got.dataDir != "from-environment" || got.pingInterval != time.Second || !got.dev {
		t.Errorf("addr %q, data %q, ping-interval %v, dev %v; want :3, from-environment, 1s, true", got.addr, got.dataDir, got.pingInterval, got.dev)
	}
}

func TestFlags_lists_come_as_comma_list_repeated_or_from_yaml(t *testing.T) {
	clearEnvironment(t)
	want := []string{"https://a.example", "http://b.example:8080"}
	for name, args := range map[string][]string{
		"comma":    {"--cors-origins", strings.Join(want, ", ")},
		"repeated": {"--cors-origins", want[0], "--cors-origins", want[1]},
		"yaml":     {"--config", writeFile(t, "cors-origins: ["+strings.Join(want, ", ")+"]\n")},
	} {
		t.Run(name, func(t *testing.T) {
			fs, got := serveFlags()
			if err := fs.parse(append(args, "--trusted-proxies", "10.1.2.3,10.0.0.9/24")); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got.corsOrigins, want) {
				t.Errorf("origins %q, want %q", got.corsOrigins, want)
			}
			proxies := []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("10.0.0.0/24")}
			if !reflect.DeepEqual(got.proxies, proxies) {
				t.Errorf("proxies %v, want %v", got.proxies, proxies)
			}
		})
	}
}

// What YAML would take for a truth value, a number or a time is text.
func TestFlags_values_of_the_file_are_as_written(t *testing.T) {
	clearEnvironment(t)
	for name, c := range map[string]struct {
		yaml string
		want func(*serveConfig) bool
	}{
		"off":               {"slow-command: off\ncompress-from: off\n", func(c *serveConfig) bool { return c.slowCommand == 0 && c.compressFrom == 0 }},
		"secret_of_digits":  {"jwt-secret: 0123456789012345678901234567890123456789\n", func(c *serveConfig) bool { return c.jwtSecret == "0123456789012345678901234567890123456789" }},
		"secret_like_float": {"jwt-secret: 1e400\n", func(c *serveConfig) bool { return c.jwtSecret == "1e400" }},
		"port":              {"addr: 10:30\n", func(c *serveConfig) bool { return c.addr == "10:30" }},
		"truth":             {"dev: true\n", func(c *serveConfig) bool { return c.dev }},
		"nothing":           {"jwt-issuer:\njwt-audience: ~\n", func(c *serveConfig) bool { return c.jwtIssuer == "" && c.jwtAudience == "" }},
		"quoted":            {"data: '~'\n", func(c *serveConfig) bool { return c.dataDir == "~" }},
		"alias":             {"jwt-issuer: &us shop\njwt-audience: *us\n", func(c *serveConfig) bool { return c.jwtIssuer == "shop" && c.jwtAudience == "shop" }},
		"comments":          {"# addr: :1\n", func(c *serveConfig) bool { return c.addr == ":3001" }},
	} {
		t.Run(name, func(t *testing.T) {
			fs, got := serveFlags()
			if err := fs.parse([]string{"--config", writeFile(t, c.yaml)}); err != nil {
				t.Fatal(err)
			}
			if !c.want(got) {
				t.Errorf("%q gives %+v", c.yaml, got)
			}
		})
	}
}

func TestFlags_secret_comes_from_a_file(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("BMS_JWT_SECRET_FILE", writeFile(t, testSecret+"\n"))
	fs, got := serveFlags()
	if err := fs.parse(nil); err != nil {
		t.Fatal(err)
	}
	if got.jwtSecret != testSecret {
		t.Errorf("secret %q, want %q", got.jwtSecret, testSecret)
	}
	fs, got = serveFlags()
	if err := fs.parse([]string{"--jwt-secret", "flag"}); err != nil {
		t.Fatal(err)
	}
	if got.jwtSecret != "flag" {
		t.Errorf("secret %q although the flag was given", got.jwtSecret)
	}
}

// A variable that belongs to two flags could not be given to either.
func TestFlags_no_two_own_one_variable(t *testing.T) {
	owner := map[string]string{}
	for _, c := range commands() {
		fs, _ := c.make()
		own := func(variable, flag string) {
			if other := owner[variable]; other != "" && other != flag {
				t.Errorf("%s is the twin of --%s and of --%s", variable, other, flag)
			}
			owner[variable] = flag
		}
		fs.VisitAll(func(fl *flag.Flag) { own(envName(fl.Name), fl.Name) })
		for _, name := range fs.secrets {
			own(envName(name)+"_FILE", name)
		}
	}
}

func TestFlags_kubernetes_service_links_are_not_ours(t *testing.T) {
	clearEnvironment(t)
	for name, value := range map[string]string{
		"BMS_SERVICE_HOST": "10.0.0.1", "BMS_SERVICE_PORT": "3001", "BMS_SERVICE_PORT_HTTP": "3001",
		"BMS_PORT": "tcp://10.0.0.1:3001", "BMS_PORT_3001_TCP": "tcp://10.0.0.1:3001",
		"BMS_PORT_3001_TCP_PROTO": "tcp", "BMS_PORT_3001_TCP_PORT": "3001", "BMS_PORT_3001_TCP_ADDR": "10.0.0.1",
		"BMS_REALTIME_SERVICE_HOST": "10.0.0.1", "BMS_REALTIME_PORT_3001_TCP": "tcp://10.0.0.1:3001",
	} {
		t.Setenv(name, value)
	}
	fs, _ := serveFlags()
	if err := fs.parse(nil); err != nil {
		t.Error(err)
	}
}

func TestFlags_mistakes_stop_the_start_and_are_named(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		yaml string
		want string // part of the message
	}{
		"unknown_flag":                {args: []string{"--adr", ":1"}, want: "--adr"},
		"stray_argument":              {args: []string{"now"}, want: `"now"`},
		"unknown_variable":            {env: map[string]string{"BMS_ADR": ":1"}, want: "BMS_ADR"},
		"unknown_variable_with_port":  {env: map[string]string{"BMS_ADDR_PORTS": "1"}, want: "BMS_ADDR_PORTS"},
		"port":                        {env: map[string]string{"BMS_PORT": "8080"}, want: "BMS_PORT"},
		"port_of_something":           {env: map[string]string{"BMS_HTTP_PORT": ":8080"}, want: "BMS_HTTP_PORT"},
		"file_variable_of_no_secret":  {env: map[string]string{"BMS_ADDR_FILE": "x"}, want: "BMS_ADDR_FILE"},
		"unknown_key":                 {yaml: "adr: :1\n", want: `line 1: key "adr"`},
		"unknown_key_of_nothing":      {yaml: "addr: :1\ntypo: []\n", want: `line 2: key "typo"`},
		"unknown_keys_in_one":         {yaml: "jwt: {secret: x}\n", want: `"jwt"`},
		"keys_in_one":                 {yaml: "data: {addr: x}\n", want: `"data"`},
		"key_twice":                   {yaml: "addr: :1\naddr: :2\n", want: `line 2: key "addr" is there twice`},
		"list_twice":                  {yaml: "cors-origins: []\ncors-origins: ['https://a.example']\n", want: `"cors-origins" is there twice`},
		"the_file_in_the_file":        {yaml: "config: other.yaml\n", want: `"config"`},
		"merged_keys":                 {yaml: "<<: {addr: ':1'}\n", want: `"<<"`},
		"two_documents":               {yaml: "addr: :1\n---\naddr: :2\n", want: "more than one"},
		"text":                        {yaml: "addr\n", want: "a key for each flag"},
		"several_values":              {yaml: "addr: [':1', ':2']\n", want: `"addr"`},
		"not_yaml":                    {yaml: "{{", want: "YAML"},
		"duration_without_unit":       {args: []string{"--ping-interval", "25"}, want: "ping-interval"},
		"duration_zero":               {env: map[string]string{"BMS_PING_TIMEOUT": "0s"}, want: "BMS_PING_TIMEOUT"},
		"duration_in_the_file":        {yaml: "room-idle: often\n", want: "room-idle"},
		"size":                        {args: []string{"--max-payload", "1XB"}, want: "max-payload"},
		"size_negative":               {args: []string{"--max-payload", "-1"}, want: "max-payload"},
		"size_overflow":               {args: []string{"--max-payload", "9999999999999GB"}, want: "max-payload"},
		"rate":                        {args: []string{"--connect-rate", "5"}, want: "connect-rate"},
		"no_connections":              {args: []string{"--user-connections", "0"}, want: "user-connections"},
		"durability":                  {args: []string{"--durability", "maybe"}, want: "durability"},
		"alerts_repeat":               {yaml: "alerts-repeat: never\n", want: "alerts-repeat"},
		"origin_with_path":            {args: []string{"--cors-origins", "https://a.example/"}, want: "cors-origins"},
		"origin_wildcard":             {args: []string{"--cors-origins", "*"}, want: "cors-origins"},
		"origin_pattern":              {args: []string{"--cors-origins", "https://*.example"}, want: "cors-origins"},
		"origin_in_capitals":          {args: []string{"--cors-origins", "https://A.example"}, want: "cors-origins"},
		"origin_null":                 {args: []string{"--cors-origins", "null"}, want: "cors-origins"},
		"origin_with_default_port":    {args: []string{"--cors-origins", "https://a.example:443"}, want: "cors-origins"},
		"proxy":                       {args: []string{"--trusted-proxies", "proxy.example"}, want: "trusted-proxies"},
		"proxy_everybody":             {args: []string{"--trusted-proxies", "0.0.0.0/0"}, want: "trusted-proxies"},
		"secret_twice":                {env: map[string]string{"BMS_JWT_SECRET": "x", "BMS_JWT_SECRET_FILE": "y"}, want: "BMS_JWT_SECRET_FILE"},
		"secret_file_that_is_missing": {env: map[string]string{"BMS_JWT_SECRET_FILE": "/nowhere/secret"}, want: "BMS_JWT_SECRET_FILE"},
		"secret_file_that_is_empty":   {env: map[string]string{"BMS_JWT_SECRET_FILE": writeFile(t, "\n")}, want: "BMS_JWT_SECRET_FILE"},
		"config_file_that_is_missing": {args: []string{"--config", "/nowhere/bms.yaml"}, want: "/nowhere/bms.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnvironment(t)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if c.yaml != "" {
				c.args = append(c.args, "--config", writeFile(t, c.yaml))
			}
			fs, _ := serveFlags()
			err := fs.parse(c.args)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that names %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q has more than one line", err)
			}
		})
	}
}

func TestServe_refuses_unsafe_settings_and_names_the_flag(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no_key":                    {nil, "--jwt-secret"},
		"short_key":                 {[]string{"--jwt-secret", "short"}, "--jwt-secret has 5 bytes"},
		"short_key_with_dev":        {[]string{"--dev", "--jwt-secret", "short"}, "--jwt-secret has 5 bytes"},
		"development_in_production": {[]string{"--dev", "--jwks-url", "https://id.example/keys"}, "--dev"},
		"demo_in_production":        {[]string{"--demo", "--jwt-secret", testSecret}, "--demo"},
		"keys_over_http":            {[]string{"--jwks-url", "http://id.example/keys"}, "--jwks-url"},
		"keys_from_nowhere":         {[]string{"--jwks-url", "keys.json"}, "--jwks-url"},
		"address":                   {[]string{"--dev", "--addr", "3001"}, "--addr"},
		"no_folder":                 {[]string{"--dev", "--data", ""}, "--data"},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnvironment(t)
			fs, cfg := serveFlags()
			if err := fs.parse(c.args); err != nil {
				t.Fatal(err)
			}
			if err := cfg.check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one that says %s", err, c.want)
			}
		})
	}
	for name, args := range map[string][]string{
		"secret":              {"--jwt-secret", testSecret},
		"key_server":          {"--jwks-url", "https://id.example/keys"},
		"key_server_at_home":  {"--jwks-url", "http://127.0.0.1:8080/keys"},
		"both_kinds":          {"--jwks-url", "https://id.example/keys", "--jwt-secret", testSecret},
		"development":         {"--dev", "--demo"},
		"development_and_key": {"--dev", "--jwt-secret", testSecret},
	} {
		t.Run(name, func(t *testing.T) {
			clearEnvironment(t)
			fs, cfg := serveFlags()
			if err := fs.parse(args); err != nil {
				t.Fatal(err)
			}
			if err := cfg.check(); err != nil {
				t.Error(err)
			}
		})
	}
}
