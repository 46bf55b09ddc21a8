package pglog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// schemaKey is the one setting of an address that is ours. To the server it would be a parameter that it does not know.
const schemaKey = "schema"

// parseAddress takes an address apart. The schema that it names becomes that of the options, unless they have one.
func parseAddress(address string, o *Options) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, addressError(address, err)
	}
	if named := takeSchema(config.ConnConfig); o.Schema == "" {
		o.Schema = named
	}
	return config, nil
}

func takeSchema(config *pgx.ConnConfig) string {
	named := config.RuntimeParams[schemaKey]
	delete(config.RuntimeParams, schemaKey)
	return named
}

// addressError says what is wrong with an address. Of pgx's error it has only what is the same for every address: the rest
// may hold a part of the password.
func addressError(address string, err error) error {
	reason := "it is not understood"
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		text := parse.Error()
		if cause := parse.Unwrap(); cause != nil {
			text = strings.TrimSuffix(text, " ("+cause.Error()+")")
		}
		if i := strings.LastIndex(text, "`: "); i >= 0 {
			reason = text[i+len("`: "):]
		}
	}
	return fmt.Errorf("pglog: the address %s: %s; give one such as postgres://user:password@host:5432/database, with %%40 for @, %%2F for / and %%3F for ? in the password", sanitized(address), reason)
}

// SchemaOf returns the schema that an address names, DefaultSchema where it names none.
func SchemaOf(address string) (string, error) {
	var o Options
	if _, err := parseAddress(address, &o); err != nil {
		return "", err
	}
	return o.withDefaults().Schema, nil
}

// Connect makes one connection to the database at an address, for Migrate and Status. The schema that the address may name
// is left out; see SchemaOf.
func Connect(ctx context.Context, address string) (*pgx.Conn, error) {
	var o Options
	config, err := parseAddress(address, &o)
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config.ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("pglog: %s: connect: %w", sanitized(address), err)
	}
	return conn, nil
}

// WithoutPassword returns an address as it may be shown: who connects to which database of which server, and the schema if
// the address names one.
func WithoutPassword(address string) string { return sanitized(address) }

// sanitized is put together from what an address was understood as, so that nothing else of it is in there. Where a password
// with a / or an @ in it may have been understood as something else, nothing is shown.
func sanitized(address string) string {
	const nothing = "postgres://…"
	config, err := pgx.ParseConfig(address)
	if err != nil || ambiguous(address) {
		return nothing
	}
	shown := show(config)
	if strings.Contains(strings.ToLower(shown), "password") { // one that was written as a part of something else
		return nothing
	}
	return shown
}

// ambiguous tells whether a URL has an @ behind the one that ends the user and the password.
func ambiguous(address string) bool {
	_, rest, isURL := strings.Cut(address, "://")
	if i := strings.IndexAny(rest, "@/"); i >= 0 && rest[i] == '@' {
		rest = rest[i+1:]
	}
	return isURL && strings.Contains(rest, "@")
}

// show returns the address that a connection has.
func show(config *pgx.ConnConfig) string {
	query := url.Values{}
	var hosts []string
	add := func(host string, port uint16) {
		if strings.HasPrefix(host, "/") || strings.Contains(host, `\`) { // a folder of sockets
			if !slices.Contains(query["host"], host) {
				query.Add("host", host)
			}
			if port != 5432 {
				query.Set("port", strconv.Itoa(int(port)))
			}
		} else if at := net.JoinHostPort(host, strconv.Itoa(int(port))); !slices.Contains(hosts, at) {
			hosts = append(hosts, at)
		}
	}
	add(config.Host, config.Port)
	for _, f := range config.Fallbacks {
		add(f.Host, f.Port)
	}
	if named := config.RuntimeParams[schemaKey]; named != "" {
		query.Set(schemaKey, named)
	}
	u := url.URL{Scheme: "postgres", User: url.User(config.User), Host: strings.Join(hosts, ","), Path: "/" + config.Database}
	u.RawQuery = strings.NewReplacer("%2F", "/", "+", "%20").Replace(query.Encode()) // + is no space to PostgreSQL
	return u.String()
}
