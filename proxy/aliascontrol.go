package proxy

import (
	"context"
	"net/http"
	"net/url"

	"mailproxy/internal/control"
)

const (
	pathAliases     = "/v1/aliases"
	pathRetireAlias = "/v1/aliases/retire"
)

// handleAliases adds what is asked about aliases to the control API.
func (d *Daemon) handleAliases(mux *http.ServeMux) {
	mux.HandleFunc("GET "+pathAliases, func(w http.ResponseWriter, r *http.Request) {
		list, err := d.Aliases(r.URL.Query().Get("account"))
		d.answer(w, list, err)
	})
	mux.HandleFunc("POST "+pathAliases, func(w http.ResponseWriter, r *http.Request) {
		var in NewAlias
		err := control.Read(r, &in)
		var out AliasStatus
		if err == nil {
			out, err = d.AddAlias(r.Context(), in)
		}
		d.answer(w, out, err)
	})
	mux.HandleFunc("POST "+pathRetireAlias, func(w http.ResponseWriter, r *http.Request) {
		var in RetireAlias
		err := control.Read(r, &in)
		var out AliasStatus
		if err == nil {
			out, err = d.RetireAlias(in)
		}
		d.answer(w, out, err)
	})
}

// Aliases lists the aliases of an account, or of all for an empty one.
func (c *Controller) Aliases(ctx context.Context, account string) (list []AliasStatus, err error) {
	err = c.do(ctx, http.MethodGet, pathAliases+"?account="+url.QueryEscape(account), nil, &list)
	return list, err
}

// AddAlias makes an alias.
func (c *Controller) AddAlias(ctx context.Context, in NewAlias) (out AliasStatus, err error) {
	err = c.do(ctx, http.MethodPost, pathAliases, in, &out)
	return out, err
}

// RetireAlias takes an alias back, for good.
func (c *Controller) RetireAlias(ctx context.Context, in RetireAlias) (out AliasStatus, err error) {
	err = c.do(ctx, http.MethodPost, pathRetireAlias, in, &out)
	return out, err
}
