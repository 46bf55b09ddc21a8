package pglog

import (
	"net/url"
	"strings"
	"testing"

	"github.com/ensue-io/ensue/internal/pgtest"
)

func TestAddress(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	for _, tt := range []struct{ address, shown, schema string }{
		{"postgres://ensue:s3cret@db.example.com/shop", "postgres://ensue@db.example.com:5432/shop", ""},
		{"postgresql://ensue:s3cret@db.example.com:6432/shop?schema=logs&sslmode=disable", "postgres://ensue@db.example.com:6432/shop?schema=logs", "logs"},
		{"postgres://ensue@a,b:7/shop?password=s3cret&sslpassword=s3cret", "postgres://ensue@a:5432,b:7/shop", ""},
		{"postgres:///shop?host=/run/pg&user=ensue&pass%77ord=s3cret&schema=our%20logs", "postgres://ensue@/shop?host=/run/pg&schema=our%20logs", "our logs"},
		{"host=/run/pg port=6 user=ensue password='s3cret' dbname=shop schema=logs", "postgres://ensue@/shop?host=/run/pg&port=6&schema=logs", "logs"},
		{"postgres://ensue:1s3cret%2F%40@[::1]/shop", "postgres://ensue@[::1]:5432/shop", ""},
	} {
		var o Options
		config, err := parseAddress(tt.address, &o)
		if err != nil {
			t.Errorf("%s: %v", tt.address, err)
			continue
		}
		if o.Schema != tt.schema {
			t.Errorf("%s: schema %q", tt.address, o.Schema)
		}
		if _, ok := config.ConnConfig.RuntimeParams["schema"]; ok {
			t.Errorf("%s: the server is told of the schema", tt.address)
		}
		if got := WithoutPassword(tt.address); got != tt.shown {
			t.Errorf("%s is shown as %s, want %s", tt.address, got, tt.shown)
		}
		if !strings.Contains(config.ConnConfig.Password, "s3cret") {
			t.Errorf("%s: password %q", tt.address, config.ConnConfig.Password)
		}
		o = Options{Schema: "mine"}
		if _, err := parseAddress(tt.address, &o); err != nil || o.Schema != "mine" {
			t.Errorf("%s: schema %q instead of that of the options (%v)", tt.address, o.Schema, err)
		}
	}
	for _, address := range []string{"postgres://ensue@db/shop;password=s3cret", "dbname=shop;PASSWORD=s3cret", "postgres://ensue:1/s3cret@db/shop", "postgres://ensue:s3@cret@db/shop"} {
		if got := WithoutPassword(address); got != "postgres://…" {
			t.Errorf("%s is shown as %s", address, got)
		}
	}
	if schema, err := SchemaOf("postgres://x/y"); schema != DefaultSchema || err != nil {
		t.Error(schema, err)
	}
}

func TestAddressThatIsNone(t *testing.T) {
	for address, says := range map[string]string{
		"postgres://ensue:s3cret/x@db/shop":                      "%2F for /",
		"postgres://ensue:s3cret@db:port/shop":                   "invalid port",
		"postgres://ensue:s3cret@db/shop?sslmode=s3cret":         "TLS",
		"postgres://ensue:s3cret@db/shop?pool_max_conns=s3cret":  "pool_max_conns",
		"host=db password=s3cret x":                              "failed to parse",
		"postgres://ensue:s3cret@db/shop?password=s3cret\x00":    "",
		"postgres://ensue:s3cret%zz@db/shop":                     "failed to parse as URL",
		"postgres://ensue:1`: s3cret/x@db/shop":                  "failed to parse as URL",
		"postgres://ensue:s3cret@db/shop?connect_timeout=s3cret": "connect_timeout",
	} {
		_, err := Open(t.Context(), address, Options{})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", address, err)
		}
		if _, err := SchemaOf(address); err == nil {
			t.Errorf("%q has a schema", address)
		}
	}
}

// An error of connecting says where to, and no password.
func TestConnectErrorsHaveNoPassword(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("password", "s3cret")
	q.Set("user", "nobody of that name")
	u.RawQuery, u.User = q.Encode(), nil
	for _, address := range []string{u.String(), "postgres://ensue:s3cret@127.0.0.1:1/shop?connect_timeout=2"} {
		_, err := Open(t.Context(), address, Options{})
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), WithoutPassword(address)) {
			t.Errorf("%s: %v", address, err)
		}
		conn, err := Connect(t.Context(), address)
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), WithoutPassword(address)) {
			t.Errorf("%s: %v", address, err)
		}
		if conn != nil {
			t.Error("a connection beside an error")
		}
	}
}

// No password of any kind, anywhere in an address, is shown.
func FuzzWithoutPassword(f *testing.F) {
	for _, password := range []string{"", "a/b", "a?b", "a@b", "@", "#", "%2F", "12/34", "12?x=y", "1&password=", "a:b@c/d", "`: ", "[::1]", "\x00"} {
		f.Add(password, "shop")
		f.Add(password+"x", "shop?schema=a@b")
	}
	f.Fuzz(func(t *testing.T, password, rest string) {
		const mark = "s3cret"
		for _, address := range []string{
			"postgres://ensue:" + mark + password + "@db/" + rest,
			"postgres://ensue:" + password + mark + "@db/shop",
			"postgres://ensue@db/shop?password=" + mark + password,
			"postgres://ensue:" + url.QueryEscape(password+mark) + "@db:1/" + rest,
			"host=db user=ensue password='" + mark + password + "' dbname=shop",
		} {
			shown := WithoutPassword(address)
			if strings.Contains(shown, mark) && !strings.Contains(rest, mark) {
				t.Errorf("%q is shown as %q", address, shown)
			}
			if _, err := SchemaOf(address); err != nil && strings.Contains(err.Error(), mark) && !strings.Contains(rest, mark) {
				t.Errorf("%q: %v", address, err)
			}
		}
	})
}
