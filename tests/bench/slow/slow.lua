-- lua.slow: waits for 1.5 s.
core.register_action("slow", { "http-req" }, function()
	core.msleep(1500)
end)
