package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bms/domain"
)

// trade gives a node something of every kind to keep.
func trade(t *testing.T, n *testNode) {
	t.Helper()
	do := func(id, commandType, branch string, body any) *domain.Commit {
		t.Helper()
		commit, err := n.app.bus.Do(t.Context(), adminCommand(id, commandType, branch, body))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		for i := range commit.Events {
			follow, err := domain.FollowUps(&commit.Events[i])
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range follow {
				f.At = time.Now()
				if _, err := n.app.bus.Do(t.Context(), f); err != nil {
					t.Fatal(err)
				}
			}
		}
		return commit
	}
	for _, b := range []string{"b1", "b2"} {
		do("open-"+b, domain.CommandOpenBranch, b, domain.OpenBranch{BranchID: b, Name: b})
		do("product-"+b, domain.CommandCreateProduct, b, domain.CreateProduct{ProductID: "p1", SKU: "s1", Name: "Tea", PriceMinor: 199, Currency: "EUR", Stock: new(int64(60)), MinStock: 20})
	}
	for i := range 30 {
		do(fmt.Sprint("sale-", i), domain.CommandCreateTransaction, "b1", domain.CreateTransaction{
			TransactionID: fmt.Sprint("t", i), Kind: domain.KindSale, Status: domain.StatusCompleted, Lines: []domain.TransactionLine{{ProductID: "p1", Quantity: 1}},
		})
	}
	do("refund", domain.CommandSetTransactionStatus, "b1", domain.SetTransactionStatus{TransactionID: "t3", Status: domain.StatusRefunded, Reason: "cold"})
	do("send", domain.CommandDispatchTransfer, "b1", domain.DispatchTransfer{ToBranchID: "b2", Lines: []domain.TransferLine{{ProductID: "p1", Quantity: 25}}})
	do("user", domain.CommandSetUser, "", domain.SetUser{UserID: "u1", Role: domain.RoleStaff, Branches: []string{"b1"}})
	do("note", domain.CommandSendNotification, "", domain.SendNotification{Audience: "user-role:admin", Severity: domain.SeverityInfo, Title: "t", Message: "m"})
}

// settled waits until all that follows from a node's log is in it and folded,
// and returns the digests of the read models.
func settled(t *testing.T, n *testNode) map[string]string {
	t.Helper()
	for {
		head := n.app.log.Head()
		for _, name := range n.app.projections.Names() {
			if err := n.app.projections.WaitFor(t.Context(), name, head); err != nil {
				t.Fatal(err)
			}
		}
		// The one alert follows the dispatch some time after it.
		alerts, err := n.app.log.ReadStream(t.Context(), domain.StreamOfAlerts("b1"), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(alerts) == 1 && n.app.log.Head() == head {
			break
		}
		if _, err := n.app.log.Next(t.Context(), head.Seq, 1); err != nil {
			t.Fatal(err)
		}
	}
	digests := map[string]string{}
	for _, name := range n.app.projections.Names() {
		digest, _, err := n.app.projections.Digest(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		digests[name] = digest
	}
	return digests
}

func Test_backup_of_a_serving_node_restores_to_one_with_equal_digests(t *testing.T) {
	clearEnvironment(t)
	dir, file, to := t.TempDir(), filepath.Join(t.TempDir(), "log.bms"), filepath.Join(t.TempDir(), "new")
	node := startNode(t, dir)
	trade(t, node)
	want := settled(t, node)

	code, stdout, stderr := bms(t, "verify", "--data", dir, "--alerts", "every")
	if code != exitOK || strings.Contains(stdout, "WRONG") || !strings.Contains(stdout, "2 branches") || !strings.Contains(stdout, "25 units in transit") {
		t.Fatalf("verify: code %d\n%s%s", code, stdout, stderr)
	}
	if got, want := strings.Count(stdout, ": digest "), len(node.app.projections.Names()); got != want {
		t.Fatalf("verify compared %d read models, want %d\n%s", got, want, stdout)
	}
	if code, _, stderr = bms(t, "backup", file, "--data", dir); code != exitOK {
		t.Fatalf("backup: code %d: %s", code, stderr)
	}
	node.stop()

	if code, _, stderr = bms(t, "restore", "--data", to, file); code != exitOK {
		t.Fatalf("restore: code %d: %s", code, stderr)
	}
	if code, stdout, stderr = bms(t, "verify", "--data", to); code != exitOK {
		t.Fatalf("verify what was restored: code %d\n%s%s", code, stdout, stderr)
	}
	again := startNode(t, to)
	for name, digest := range settled(t, again) {
		if digest != want[name] {
			t.Errorf("%s has digest %s after the restore, %s before the backup", name, digest, want[name])
		}
	}
	if before, after := node.app.log.Head(), again.app.log.Head(); after.Epoch <= before.Epoch {
		t.Errorf("the log goes on from %s, want a later epoch than that of %s", after, before)
	}
}

func Test_backup_and_restore_say_in_one_line_why_not(t *testing.T) {
	clearEnvironment(t)
	dir, files := t.TempDir(), t.TempDir()
	node := startNode(t, dir)
	trade(t, node)
	good, text := filepath.Join(files, "good"), filepath.Join(files, "text")
	if code, _, stderr := bms(t, "backup", good, "--data", dir); code != exitOK {
		t.Fatalf("backup: code %d: %s", code, stderr)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	bad := filepath.Join(files, "bad")
	for file, content := range map[string][]byte{text: []byte("dear diary"), bad: content} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no_file":           {[]string{"backup", "--data", dir}, exitUsage, "FILE is missing"},
		"two_files":         {[]string{"backup", "a", "b"}, exitUsage, `"b"`},
		"backup_exists":     {[]string{"backup", good, "--data", dir}, exitFailed, "exists"},
		"no_log":            {[]string{"backup", "x", "--data", files}, exitFailed, "no log"},
		"folder_not_there":  {[]string{"backup", filepath.Join(files, "no", "b"), "--data", dir}, exitFailed, "no such"},
		"not_a_backup":      {[]string{"restore", text, "--data", filepath.Join(files, "new")}, exitFailed, "not a backup"},
		"damaged":           {[]string{"restore", bad, "--data", filepath.Join(files, "new")}, exitFailed, "damaged"},
		"restore_not_empty": {[]string{"restore", good, "--data", dir}, exitFailed, "empty folder"},
		"no_backup":         {[]string{"restore", filepath.Join(files, "none"), "--data", filepath.Join(files, "new")}, exitFailed, "none"},
		"verify_no_log":     {[]string{"verify", "--data", files}, exitFailed, "no log"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := bms(t, c.args...)
			if code != c.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.says) {
				t.Errorf("code %d, stdout %q, stderr %q; want %d and one line that says %q", code, stdout, stderr, c.code, c.says)
			}
		})
	}
}

func Test_verify_names_what_is_wrong_and_where(t *testing.T) {
	clearEnvironment(t)
	sound := t.TempDir()
	node := startNode(t, sound)
	trade(t, node)
	settled(t, node)
	node.stop()
	for name, c := range map[string]struct {
		harm func(t *testing.T, dir string)
		says string
	}{
		"a_flipped_bit": {func(t *testing.T, dir string) {
			file := filepath.Join(dir, "log.db")
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			content[bytes.Index(content, []byte("sale-17"))] ^= 1
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "commit 22: record is damaged"},
		"a_flipped_bit_of_the_index": {func(t *testing.T, dir string) {
			file := filepath.Join(dir, "index.db")
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			content[len(content)/2] ^= 1
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "it is made anew at the start"},
		"a_read_model_changed": {func(t *testing.T, dir string) {
			files, err := filepath.Glob(filepath.Join(dir, "projections", "inventory-v*.db"))
			if err != nil || len(files) != 1 {
				t.Fatal(files, err)
			}
			content, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(content, []byte("Tea"))
			content[at] = 'S'
			if err := os.WriteFile(files[0], content, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "a rebuild puts it right"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
				t.Fatal(err)
			}
			c.harm(t, dir)
			code, stdout, stderr := bms(t, "verify", "--data", dir)
			if code != exitFailed || !strings.Contains(stdout, "WRONG") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.says) {
				t.Errorf("code %d, stderr %q, want %d and %q\n%s", code, stderr, exitFailed, c.says, stdout)
			}
		})
	}
}

func TestMeter_on_a_terminal_and_elsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		terminal bool
		want     string
	}{
		"elsewhere": {false, "log  50 %, 500 of 1000, 100/s, 5s left\n"},
		"terminal":  {true, "\r[###############...............] log  50 %, 500 of 1000, 100/s, 5s left\r" + strings.Repeat(" ", 71) + "\r"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			now := time.Unix(1000, 0)
			m := newMeter(&out, "log", func() time.Time { return now })
			m.terminal = c.terminal
			m.tell(10, 1000) // too early
			now = now.Add(5 * time.Second)
			m.tell(500, 1000)
			if took := m.end(); took != 5*time.Second || out.String() != c.want {
				t.Errorf("took %v, wrote %q, want %q", took, out.String(), c.want)
			}
		})
	}
}
