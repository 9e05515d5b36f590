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
	control.Handle(mux, d.log, pathAliases, d.AddAlias)
	control.Handle(mux, d.log, pathRetireAlias, atOnce(d.RetireAlias))
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
