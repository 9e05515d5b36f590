package web

import (
	"embed"
	"html/template"
	"net/http"
	"path"
)

// The files under static that begin with uPlot are of uPlot 1.6.32
// (https://github.com/leeoniya/uPlot), as the npm package has them; uPlot.LICENSE is
// its licence.
//
//go:embed static
var staticFiles embed.FS

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/*.html"))

var types = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8",
}

// static answers with one of our own files. They hold nothing of the user's.
func static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	b, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", types[path.Ext(name)])
	w.Header().Set("Cache-Control", "no-cache")
	if _, err := w.Write(b); err != nil {
		return // the browser went away
	}
}
