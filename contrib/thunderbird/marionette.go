package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A marionette is Thunderbird's remote control (Mozilla's Marionette protocol,
// version 3): messages of JSON, each after its length in bytes and a colon.
type marionette struct {
	conn net.Conn
	r    *bufio.Reader
	id   int
}

// The patience with Thunderbird, which is slow to start on a machine that is busy.
const (
	startPatience = 4 * time.Minute
	callPatience  = 3 * time.Minute
)

// connect waits for Thunderbird to listen, which writes its port into the file, and
// takes it over. ended tells that Thunderbird has ended.
func connect(portFile string, ended <-chan struct{}) (*marionette, error) {
	until := time.Now().Add(startPatience)
	for {
		port, err := os.ReadFile(portFile)
		var conn net.Conn
		if err == nil {
			conn, err = net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strings.TrimSpace(string(port))), time.Second)
		}
		if err == nil {
			m := &marionette{conn: conn, r: bufio.NewReader(conn)}
			if err := m.begin(); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
			return m, nil
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("take over Thunderbird: %w", err)
		}
		select {
		case <-ended:
			return nil, errors.New("take over Thunderbird: it ended; its log says more")
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (m *marionette) begin() error {
	if err := m.conn.SetDeadline(time.Now().Add(startPatience)); err != nil {
		return err
	}
	if _, err := m.read(); err != nil { // it says hello
		return fmt.Errorf("take over Thunderbird: %w", err)
	}
	for _, c := range []struct {
		name   string
		params map[string]any
	}{
		{"WebDriver:NewSession", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"unhandledPromptBehavior": "ignore"}}}},
		{"WebDriver:SetTimeouts", map[string]any{"script": callPatience.Milliseconds()}},
		{"Marionette:SetContext", map[string]any{"value": "chrome"}},
	} {
		if _, err := m.call(c.name, c.params); err != nil {
			return fmt.Errorf("take over Thunderbird: %w", err)
		}
	}
	return nil
}

func (m *marionette) read() ([]byte, error) {
	head, err := m.r.ReadString(':')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(head[:len(head)-1])
	if err != nil || n < 0 || n > 64<<20 {
		return nil, fmt.Errorf("a message of %q bytes", head)
	}
	message := make([]byte, n)
	_, err = io.ReadFull(m.r, message)
	return message, err
}

// call sends a command and returns its result.
func (m *marionette) call(name string, params map[string]any) (json.RawMessage, error) {
	m.id++
	message, err := json.Marshal([]any{0, m.id, name, params})
	if err != nil {
		return nil, err
	}
	if err := m.conn.SetDeadline(time.Now().Add(callPatience + time.Minute)); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(m.conn, "%d:%s", len(message), message); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	answer, err := m.read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var parts []json.RawMessage // type, id, error, result
	if err := json.Unmarshal(answer, &parts); err != nil || len(parts) != 4 {
		return nil, fmt.Errorf("%s: no answer of four parts: %w", name, err)
	}
	if string(parts[2]) != "null" {
		var failure struct{ Error, Message string }
		if err := json.Unmarshal(parts[2], &failure); err != nil {
			return nil, fmt.Errorf("%s: %s", name, parts[2])
		}
		return nil, fmt.Errorf("%s: %s: %s", name, failure.Error, failure.Message)
	}
	return parts[3], nil
}

// js runs the body of an asynchronous function with Thunderbird's own rights and
// decodes what it returns into result, which may be nil. In it, args are args.
func (m *marionette) js(body string, result any, args ...any) error {
	script := `const [args, done] = [Array.from(arguments).slice(0, -1), arguments[arguments.length - 1]];
(async () => {` + prelude + body + `})().then(v => done({value: v === undefined ? null : v}), e => done({failed: String(e)}));`
	if args == nil {
		args = []any{}
	}
	raw, err := m.call("WebDriver:ExecuteAsyncScript", map[string]any{"script": script, "args": args, "newSandbox": true, "sandbox": "system"})
	if err != nil {
		return err
	}
	var answer struct {
		Value struct {
			Value  json.RawMessage
			Failed string
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return err
	}
	if answer.Value.Failed != "" {
		return errors.New(answer.Value.Failed)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer.Value.Value, result)
}

// aside does something in the one window that is open beside the main window.
func (m *marionette) aside(do func() error) error {
	var handles []string
	var home struct{ Value string }
	raw, err := m.call("WebDriver:GetWindowHandle", nil)
	if err == nil {
		err = json.Unmarshal(raw, &home)
	}
	if err != nil {
		return err
	}
	if raw, err = m.call("WebDriver:GetWindowHandles", nil); err == nil {
		err = json.Unmarshal(raw, &handles)
	}
	if err != nil {
		return err
	}
	handles = slices.DeleteFunc(handles, func(h string) bool { return h == home.Value })
	if len(handles) != 1 {
		return fmt.Errorf("%d windows are open beside the main window, and not one", len(handles))
	}
	to := func(handle string) error {
		_, err := m.call("WebDriver:SwitchToWindow", map[string]any{"handle": handle, "focus": false})
		return err
	}
	if err := to(handles[0]); err != nil {
		return err
	}
	return errors.Join(do(), to(home.Value))
}

// screenshot writes what the window shows into a PNG file.
func (m *marionette) screenshot(file string) error {
	raw, err := m.call("WebDriver:TakeScreenshot", map[string]any{"full": false})
	if err != nil {
		return err
	}
	var answer struct{ Value []byte }
	if err := json.Unmarshal(raw, &answer); err != nil {
		var text struct{ Value string }
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		if answer.Value, err = base64.StdEncoding.DecodeString(text.Value); err != nil {
			return err
		}
	}
	return os.WriteFile(file, answer.Value, 0o600)
}

// tabKey is the Tab key in what keys types (WebDriver, section 17.4.2).
const tabKey = "\ue004"

// keys types text with the keyboard, to where the focus is.
func (m *marionette) keys(text string) error {
	var actions []map[string]any
	for _, c := range text {
		for _, what := range []string{"keyDown", "keyUp"} {
			actions = append(actions, map[string]any{"type": what, "value": string(c)})
		}
	}
	_, err := m.call("WebDriver:PerformActions", map[string]any{
		"actions": []map[string]any{{"type": "key", "id": "keyboard", "actions": actions}},
	})
	return err
}

// quit ends Thunderbird as its menu does.
func (m *marionette) quit() error {
	_, err := m.call("Marionette:Quit", map[string]any{"flags": []string{"eAttemptQuit"}})
	return errors.Join(err, m.conn.Close())
}
