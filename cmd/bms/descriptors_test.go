package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"bms/domain"
	"bms/transport/eventlog"
)

// fewDescriptors is enough for a node without clients and some to spare.
const fewDescriptors = 128

// One that is out of descriptors accepts nobody. Whoever is connected goes on:
// the log and the read models have their files open. What needs a new one fails
// with the reason, and passes once there are some again.
func TestOutOfDescriptors_open_connections_go_on(t *testing.T) {
	for _, durability := range []string{eventlog.Fsync, eventlog.Relaxed} {
		t.Run(durability, func(t *testing.T) { outOfDescriptors(t, durability) })
	}
}

func outOfDescriptors(t *testing.T, durability string) {
	data := t.TempDir()
	cmd := childCommand("bms", "serve", "--addr", "127.0.0.1:0", "--data", data, "--durability", durability, "--log-level", "debug")
	// The limit has to be there before Go raises the soft one to the hard one.
	cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, fewDescriptors)}, cmd.Args...)
	cmd.Path = "/bin/sh"
	n := startNodeCommand(t, cmd)

	here := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	must := func(method, path, body string) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+n.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+signed("root", domain.RoleAdmin))
		req.Header.Set("Content-Type", "application/json")
		res, err := here.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		answer, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode/100 != 2 {
			t.Fatalf("%s %s: %s %s, %v", method, path, res.Status, answer, err)
		}
		return answer
	}
	must(http.MethodPost, "/api/branches", `{"branchId":"b1","name":"Shop"}`)
	must(http.MethodPost, "/api/branches/b1/products", `{"productId":"p1","sku":"P1","name":"Apples","priceMinor":100,"currency":"EUR","stock":1000}`)

	var crowd []net.Conn
	for range 4 * fewDescriptors {
		c, err := net.Dial("tcp", n.addr) // by the system, in the node's name
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() }) // again
		// A whole request: whoever sends none is closed after some seconds.
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: crowd\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, c)
	}
	n.logs(t, "too many open files")

	const sales = 300
	for range sales {
		must(http.MethodPost, "/api/branches/b1/inventory/adjustments", `{"productId":"p1","delta":-1,"reason":"sold"}`)
	}
	must(http.MethodPost, "/api/projections/inventory/rebuild", "")
	for failed := ""; failed == ""; {
		var list struct {
			Items []struct {
				Name        string
				LastRebuild *struct{ State, Error string }
			}
		}
		if err := json.Unmarshal(must(http.MethodGet, "/api/projections", ""), &list); err != nil {
			t.Fatal(err)
		}
		for _, p := range list.Items {
			if p.LastRebuild == nil {
				continue
			}
			if failed = p.LastRebuild.Error; !strings.Contains(failed, "too many open files") {
				t.Fatalf("the rebuild of %s is %s: %q, want that it failed for want of descriptors", p.Name, p.LastRebuild.State, failed)
			}
		}
	}

	for _, c := range crowd {
		_ = c.Close() // the node sees it, whatever comes back
	}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := fresh.Get("http://" + n.addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("a new connection is answered %s, want 200", res.Status)
	}
	if err := n.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	log := <-n.log
	if err := n.process.Wait(); err != nil {
		t.Errorf("the node ends with %v, want exit code 0; its log: %s", err, log)
	}
	if bytes.Contains(log, []byte("commits to disk")) {
		t.Errorf("the node logs %s, want that no commit waited for a descriptor", log)
	}
	reader, err := eventlog.OpenReadOnly(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if got := reader.Head().Seq; got != sales+2 {
		t.Errorf("%d commits in the log, want %d", got, sales+2)
	}
}
