-- ARGV: arq ids. Returns their places.
return places(ARGV)
